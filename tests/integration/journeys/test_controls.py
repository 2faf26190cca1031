"""Pausing, resuming and draining at every kind of step that stands, and the books of hand-offs."""

from datetime import timedelta

import pytest

from tests.builders import a_lead
from tests.integration.journeys.conftest import Opens
from tests.journeys_house import House

SLA = "{id: call, handoff: sales, sla: 4h, do: [{send: after}], on_rejected: [{send: after}], on_timeout: [{send: after}]}"
STANDING = {
    "wait": "{id: here, wait: 1h}",
    "time of day": '{id: here, wait: {at: "13:00"}}',
    "until": "{id: here, wait: {until: entry.properties.meeting, offset: -1h}}",
    "wait_for": "{id: here, wait_for: {event: Came}, timeout: 1h}",
}


def a_journey(steps: str, more: str = "") -> str:
    return f"journey: way\ntrigger: {{event: Seen}}\n{more}\nsteps: [{steps}, {{send: after}}]"


async def begins(house: House) -> None:
    await house.happens("Seen", meeting=(house.clock.now() + timedelta(hours=2)).isoformat())


@pytest.mark.parametrize("kind", list(STANDING))
async def test_a_paused_walk_stands_wherever_it_stands_and_goes_on_when_resumed(opens: Opens, kind: str) -> None:
    house = await opens(a_journey(STANDING[kind]))
    await begins(house)
    await house.post("/api/journeys/way/pause")
    house.passes("3h")
    assert await house.tick() is None
    assert house.sent == []
    await house.post("/api/journeys/way/resume")
    await house.tick()
    assert house.sent == ["after"]


async def test_what_a_paused_walk_waited_for_is_not_lost(opens: Opens) -> None:
    house = await opens(a_journey("{id: here, wait_for: {event: Came}, timeout: 9d}"))
    await begins(house)
    await house.post("/api/journeys/way/pause")
    house.passes("1m")
    await house.happens("Came")
    assert house.sent == []
    await house.post("/api/journeys/way/resume")
    await house.tick()
    assert house.sent == ["after"]


@pytest.mark.parametrize("answer", ["Handoff Accepted", "Handoff Rejected", "Handoff Expired"])
async def test_an_answer_of_sales_to_a_paused_walk_is_not_lost(opens: Opens, answer: str) -> None:
    house = await opens(f"journey: way\ntrigger: {{event: Seen}}\nsteps: [{SLA}]")
    await begins(house)
    await house.post("/api/journeys/way/pause")
    await house.settles(answer)
    assert house.sent == ["sales"]
    await house.post("/api/journeys/way/resume")
    await house.tick()
    assert house.sent == ["sales", "after"]


async def test_ends_act_on_a_paused_walk(opens: Opens) -> None:
    house = await opens(a_journey(STANDING["wait_for"], "exit_when: [{event: Order Completed}]"))
    await begins(house)
    await house.post("/api/journeys/way/pause")
    await house.happens("Order Completed")
    (row,) = await house.enrollments()
    assert (row.status, row.reason) == ("exited", "exit_when")


@pytest.mark.parametrize("kind", list(STANDING))
async def test_a_drained_journey_walks_on_through_every_kind_of_step(opens: Opens, kind: str) -> None:
    house = await opens(a_journey(STANDING[kind]))
    await begins(house)
    await house.post("/api/journeys/way/drain")
    await house.happens("Seen", lead=a_lead(id="l2"))
    house.passes("3h")
    await house.tick()
    assert [send.lead_id for send in house.sends] == ["l1"]


@pytest.mark.parametrize(
    ("more", "traits", "published", "skipped"),
    [("", {}, 1, 0), ("audience: not lead.traits.ticket", {"ticket": 7}, 0, 1), ("holdout: 100%", {}, 0, 1)],
)
async def test_of_each_hand_off_reached_the_books_say_what_became_of_it(
    opens: Opens, more: str, traits: dict[str, int], published: int, skipped: int
) -> None:
    house = await opens(f"journey: way\ntrigger: {{event: Seen}}\n{more}\nsteps: [{{wait: 1h}}, {SLA}]")
    await house.happens("Seen")
    await house.happens("Page Viewed", lead=a_lead(traits=traits))
    house.passes("1h")
    await house.tick()
    checks = {check["name"]: check for check in (await house.get("/api/audit"))["checks"]}
    check = checks["way · call: reached = published + skipped"]
    assert (check["ok"], check["left"], check["detail"]) == (True, 1, f"{published} published, {skipped} skipped")
    assert checks["walks without a wake-up stand at a message under way"]["left"] == published
    step = next(step for step in (await house.get("/api/journeys/way"))["steps"] if step["step"] == "call")
    assert (step["reached"], step["published"], step["skipped"] + step["holdout"]) == (1, published, skipped)
