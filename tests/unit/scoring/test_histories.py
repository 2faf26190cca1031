"""Scoring keeps the history of every event that the playbook asks for, however it asks."""

import pytest

from services.scoring.loader import load

WELCOME = """
journey: welcome
trigger: {{event: Signed Up}}
reentry: {reentry}
steps:
  - {{wait: 1d}}
"""


@pytest.mark.parametrize(
    "reentry",
    ["{after_event: Order Completed}", '{after_event: "Order Completed"}', "\n  after_event: Order Completed"],
)
def test_reentry_after_an_event_asks_for_its_history(reentry: str):
    files = {"playbook.yaml": b"name: Shop", "journeys/welcome.yaml": WELCOME.format(reentry=reentry).encode()}
    assert "Order Completed" in load(files, {}).noted.histories


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("audience: \"lead['events']['Cart Updated'].count > 0\"", "Cart Updated"),
        ("audience: \"lead.events['Cart\\\\u0020Updated'].count > 0\"", "Cart Updated"),
        ("steps: [{emit: {properties: {last: \"=lead.events['Cart Updated'].last_at\"}}}]", "Cart Updated"),
        ("reentry: {after_event: 'Order #1, paid'}", "Order #1, paid"),
        ("reentry:\n  after_event: >-\n    Cart\n    Updated", "Cart Updated"),
        ("reentry: {after_event: [Cart Updated, Signed Up]}", "Signed Up"),
    ],
)
def test_however_a_condition_or_a_reentry_is_written_its_event_is_found(text: str, name: str):
    assert name in load({"journeys/cart.yaml": text.encode()}, {}).noted.histories


def test_a_comment_asks_for_nothing():
    assert load({"journeys/cart.yaml": b"# after_event: Signed Up\nreentry: once\n"}, {}).noted.histories == frozenset()


def test_a_template_asks_in_its_own_language():
    page = b"{% if lead['events']['Cart Updated'].count %}{{ lead.events.Signup.count }}{% endif %}"
    assert load({"templates/a.html": page}, {}).noted.histories == {"Cart Updated", "Signup"}
