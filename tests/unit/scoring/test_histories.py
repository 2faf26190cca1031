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
