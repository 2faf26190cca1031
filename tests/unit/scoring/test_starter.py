"""What the starter playbook's readiness.yaml promises a newcomer: who becomes hot by what, and what leaving costs."""

from functools import reduce
from pathlib import Path

import pytest

from dripline.environment import playbook_environment
from services.scoring.loader import load
from services.scoring.readiness import Evidence, Readiness, fold, readiness
from shared.playbooks import read_folder
from shared.wire import Event
from tests.builders import NOON, a_lead, an_event

RULES = load(read_folder(Path(__file__).parents[3] / "playbooks" / "starter").files, playbook_environment()).rules
EBOOK, WEBINAR = an_event("Ebook Downloaded"), an_event("Webinar Attended")
LOOK = an_event("Page Viewed", properties={"path": "/shop/pricing"})
CLICK = an_event("Email Link Clicked", properties={"human": True})


def after(*events: Event) -> Readiness:
    return readiness(reduce(lambda evidence, event: fold(evidence, RULES, event), events, dict[str, Evidence]()), RULES, a_lead(), NOON)


@pytest.mark.parametrize("looks", [1, 2, 50])
def test_looks_at_the_prices_and_clicks_in_mails_count_and_by_themselves_make_nobody_hot(looks: int):
    found = after(WEBINAR, *[LOOK, CLICK] * looks)
    assert found.points > 8
    assert found.value == 8 == RULES.hot - 1


@pytest.mark.parametrize(
    ("properties", "value"), [({}, 4), ({"topic": None}, 4), ({"topic": ""}, 4), ({"topic": "all"}, 4), ({"topic": "cart"}, 7)]
)
def test_leaving_everything_costs_three_points_and_leaving_one_topic_none(properties: dict[str, str | None], value: int):
    assert after(EBOOK, an_event("Unsubscribed", properties=properties)).value == value
