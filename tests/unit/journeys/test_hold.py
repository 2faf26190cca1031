"""When wakes wait: while an event is on its way that may end a walk."""

from datetime import datetime

import pytest

from services.journeys.hold import Hold
from shared.errors import Outage
from tests.builders import NOON
from tests.unit.journeys.stage import later


class Waiting:
    """Two backlogs, set by hand."""

    def __init__(self) -> None:
        self.events: datetime | None = None
        self.activities: datetime | None = None
        self.hold = Hold(lambda: self.events, lambda: self.activities)


class Unknown:
    """A backlog of events of which nothing is known yet."""

    def __init__(self) -> None:
        self.known = False
        self.since: datetime | None = None
        self.hold = Hold(self.ask, lambda: None)

    def ask(self) -> datetime | None:
        if not self.known:
            raise Outage("not let in yet")
        return self.since


@pytest.mark.parametrize("topic", ["events", "activities"])
def test_a_backlog_older_than_half_a_minute_on_either_topic_holds(topic):
    waiting = Waiting()
    setattr(waiting, topic, NOON)
    assert not waiting.hold.is_on(later("30s"))
    assert waiting.hold.is_on(later("31s"))


def test_it_holds_for_a_quarter_of_an_hour_and_not_again_until_it_was_off():
    waiting = Waiting()
    waiting.events = NOON
    assert waiting.hold.is_on(later("1m"))
    assert waiting.hold.is_on(later("15m59s"))
    assert not waiting.hold.is_on(later("16m"))
    assert not waiting.hold.is_on(later("20m"))
    waiting.events = None
    assert not waiting.hold.is_on(later("20m"))
    waiting.events = NOON
    assert waiting.hold.is_on(later("21m"))


def test_an_outage_holds_although_nobody_asked_since_the_one_before():
    waiting = Waiting()
    waiting.events = NOON
    assert waiting.hold.is_on(later("1m"))
    assert not waiting.hold.is_on(later("16m"))
    waiting.events = later("23h58m")  # in between it had caught up, and nothing was to be woken
    assert waiting.hold.is_on(later("24h"))
    assert not waiting.hold.is_on(later("24h15m"))


def test_one_long_outage_holds_once_however_seldom_somebody_asks():
    waiting = Waiting()
    waiting.events = NOON
    assert waiting.hold.is_on(later("1m"))
    assert waiting.hold.is_on(later("10m"))
    assert not waiting.hold.is_on(later("20m"))
    assert not waiting.hold.is_on(later("24h"))


def test_what_scoring_made_of_its_backlog_is_handled_before_anybody_is_woken():
    waiting = Waiting()
    waiting.events = NOON
    assert waiting.hold.is_on(later("1h"))
    waiting.events, waiting.activities = None, later("1h")
    assert waiting.hold.is_on(later("1h1s"))
    waiting.activities = later("1h2s")  # what is left came after scoring had caught up
    assert not waiting.hold.is_on(later("1h3s"))


def test_a_young_backlog_alone_holds_nothing():
    waiting = Waiting()
    waiting.activities = later("59s")
    assert not waiting.hold.is_on(later("1m"))


def test_while_nobody_knows_what_waits_it_holds_for_a_quarter_of_an_hour():
    waiting = Unknown()
    assert all(waiting.hold.is_on(later(f"{seconds}s")) for seconds in range(60, 960, 30))
    assert not waiting.hold.is_on(later("16m"))


def test_what_is_known_at_last_ends_the_hold_or_goes_on_with_it():
    waiting = Unknown()
    assert waiting.hold.is_on(later("1m"))
    waiting.known, waiting.since = True, NOON
    assert waiting.hold.is_on(later("1m1s"))
    waiting.since = None
    assert not waiting.hold.is_on(later("1m2s"))


def test_what_is_not_known_today_has_nothing_to_do_with_the_hold_of_yesterday():
    waiting = Unknown()
    assert waiting.hold.is_on(later("1m"))
    assert waiting.hold.is_on(later("24h"))
