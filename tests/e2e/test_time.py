"""Time sped up: a journey of days in seconds; and no speed, restart or kill takes the clock back."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.house import STARTER, House, until

A_DAY_AND_MORE_A_SECOND = "100000"


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    house = House(tmp_path, STARTER, "--speed", A_DAY_AND_MORE_A_SECOND)
    house.start()
    yield house
    house.close()


def test_a_journey_of_days_takes_seconds_and_a_kill_does_not_turn_back_time(house: House):
    house.reader("ana")
    house.event("ana", "Signed Up")
    until(lambda: len(house.mails("ana")) == 3)
    lead_id = house.lead("ana")["id"]
    until(lambda: [one["status"] for one in house.get("/api/enrollments", lead_id=lead_id)["items"]] == ["completed"])
    before = house.get(f"/api/leads/{lead_id}/timeline", limit=200)["items"]

    house.stop(signal.SIGKILL)
    house.start("--speed", "1")
    house.event("ana", "Webinar Attended")
    until(lambda: house.lead("ana")["readiness"] == 8)
    after = house.get(f"/api/leads/{lead_id}/timeline", limit=200)["items"]
    assert [item["name"] for item in after[: len(after) - len(before)] if item["kind"] == "event"][-1] == "Webinar Attended"
    assert min(item["at"] for item in after[: len(after) - len(before)]) >= max(item["at"] for item in before)
    assert len(house.mails("ana")) == 3
