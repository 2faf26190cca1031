"""Journeys' HTTP face: what it counts, how it is paused, and how a lead is enrolled by hand."""

from datetime import timedelta
from typing import Any

import pytest

from tests.builders import NOON, a_lead
from tests.integration.journeys.conftest import Opens

WELCOME = """
journey: welcome
description: Say hello.
trigger: {event: Signed Up}
audience: not lead.traits.ticket
goal: {event: Order Completed}
steps:
  - {id: hello, send: hello}
  - {id: pause, wait: 2d}
  - branch: [{if: lead.hot, do: [{handoff: sales}]}, {else: [{exit: cold}]}]
"""
CART = "journey: cart\ntrigger: {event: Cart Updated, key: event.properties.cart}\nreentry: always\nsteps: [{wait: 1h}, {send: cart-1}]"


def z(moment: Any) -> str:
    return str(moment.isoformat().replace("+00:00", "Z"))


async def test_journeys_are_listed_with_their_counts(opens: Opens) -> None:
    house = await opens(WELCOME, CART)
    for number in range(3):
        await house.happens("Signed Up", lead=a_lead(id=f"l{number}"))
    await house.settles()
    house.passes("2d")
    await house.tick()
    await house.happens("Order Completed", lead=a_lead(id="l1"))
    welcome = (await house.get("/api/journeys"))["items"][1]
    version = (await house.playbooks.newest()).version
    assert welcome == welcome | {
        "journey": "welcome",
        "version": version,
        "status": "live",
        "description": "Say hello.",
        "category": "marketing",
    }
    counts = ("entered", "waiting", "completed", "converted", "exited", "holdout")
    assert {name: welcome[name] for name in counts} == {
        "entered": 3,
        "waiting": 1,
        "completed": 0,
        "converted": 1,
        "exited": 2,
        "holdout": 0,
    }


async def test_the_holdout_is_counted_apart(opens: Opens) -> None:
    house = await opens(CART.replace("steps:", "holdout: 100%\ngoal: {event: Order Completed}\nsteps:"))
    await house.happens("Cart Updated", cart="c1")
    house.passes("1h")
    await house.tick()
    await house.happens("Order Completed")
    (cart,) = (await house.get("/api/journeys"))["items"]
    assert (cart["entered"], cart["converted"], cart["holdout"], cart["holdout_converted"]) == (0, 0, 1, 1)


async def test_a_journey_shows_its_steps_as_a_graph_with_counts(opens: Opens) -> None:
    house = await opens(WELCOME)
    for number in range(2):
        await house.happens("Signed Up", lead=a_lead(id=f"l{number}"))
    await house.settles()
    steps = {step["step"]: step for step in (await house.get("/api/journeys/welcome"))["steps"]}
    assert list(steps) == ["hello", "pause", "steps.2", "steps.2.branch.0.do.0", "steps.2.branch.1.else.0"]
    nothing = {"reached": 0, "waiting": 0, "published": 0, "skipped": 0, "holdout": 0}
    assert steps["hello"] == nothing | {
        "step": "hello",
        "kind": "send",
        "template": "hello",
        "next": "pause",
        "reached": 2,
        "waiting": 1,
        "published": 2,
    }
    assert steps["pause"] == nothing | {"step": "pause", "kind": "wait", "wait": "2d", "next": "steps.2", "reached": 1, "waiting": 1}
    assert steps["steps.2"]["arms"] == [
        {"label": "1", "if": "lead.hot", "next": "steps.2.branch.0.do.0"},
        {"label": "else", "if": None, "next": "steps.2.branch.1.else.0"},
    ]
    assert steps["steps.2.branch.1.else.0"] == nothing | {"step": "steps.2.branch.1.else.0", "kind": "exit", "reason": "cold", "next": None}


async def test_what_only_an_older_version_had_is_still_counted(opens: Opens) -> None:
    house = await opens(WELCOME, CART)
    await house.happens("Signed Up")
    await house.happens("Cart Updated", cart="c1")
    await house.publish(WELCOME.replace("id: hello", "id: hullo"))
    await house.restart()
    steps = (await house.get("/api/journeys/welcome"))["steps"]
    assert steps[-1] == {"step": "hello", "kind": None, "reached": 1, "waiting": 1, "published": 1, "skipped": 0, "holdout": 0}
    assert [(item["journey"], item["status"], item["waiting"]) for item in (await house.get("/api/journeys"))["items"]] == [
        ("cart", "removed", 1),
        ("welcome", "live", 1),
    ]


async def test_an_unknown_journey_is_answered_with_those_there_are(opens: Opens) -> None:
    house = await opens(WELCOME, CART)
    async with house.api() as client:
        answer = await client.get("/api/journeys/welcom")
    assert (answer.status_code, answer.json()["code"]) == (404, "unknown_journey")
    assert "cart, welcome" in answer.json()["message"]


async def test_a_paused_journey_stands_still_until_it_is_resumed(opens: Opens) -> None:
    house = await opens(CART)
    await house.happens("Cart Updated", cart="c1")
    assert await house.post("/api/journeys/cart/pause") == (200, {"journey": "cart", "status": "paused", "was": "live"})
    await house.restart()
    house.passes("3h")
    assert await house.tick() is None
    await house.happens("Cart Updated", cart="c2")
    assert (house.sent, len(await house.enrollments())) == ([], 1)
    assert (await house.get("/api/journeys"))["items"][0]["status"] == "paused"
    await house.post("/api/journeys/cart/resume")
    await house.tick()
    assert house.sent == ["cart-1"]


async def test_a_drained_journey_walks_on_and_takes_nobody_in(opens: Opens) -> None:
    house = await opens(CART)
    await house.happens("Cart Updated", cart="c1")
    await house.post("/api/journeys/cart/drain")
    await house.happens("Cart Updated", cart="c2")
    house.passes("1h")
    await house.tick()
    assert [send.key for send in house.sends] == ["c1"]


async def test_publishing_another_status_ends_what_the_api_said(opens: Opens) -> None:
    house = await opens(CART)
    await house.post("/api/journeys/cart/pause")
    await house.publish(CART + "\n")
    await house.restart()
    assert (await house.get("/api/journeys"))["items"][0]["status"] == "paused"
    await house.publish(CART + "\nstatus: draining")
    await house.restart()
    assert (await house.get("/api/journeys"))["items"][0]["status"] == "draining"


async def test_a_draft_can_only_be_published(opens: Opens) -> None:
    house = await opens(CART + "\nstatus: draft")
    status, problem = await house.post("/api/journeys/cart/resume")
    assert (status, problem["code"]) == (409, "draft")


async def test_a_lead_is_enrolled_by_id_or_address(opens: Opens) -> None:
    house = await opens(WELCOME)
    await house.happens("Page Viewed", lead=a_lead(id="l1", email="ana@example.com"))
    await house.happens("Page Viewed", lead=a_lead(id="l2", email="bo@example.com"))
    status, enrolled = await house.post("/api/journeys/welcome/enrollments", {"email": "bo@example.com", "properties": {"plan": "pro"}})
    assert status == 201
    assert enrolled == enrolled | {"lead_id": "l2", "journey": "welcome", "status": "active", "step": "hello", "key": None}
    assert house.sends[0].entry.properties == {"plan": "pro"}
    status, _ = await house.post("/api/journeys/welcome/enrollments", {"lead_id": "l1"})
    assert (status, house.sent) == (201, ["hello", "hello"])


async def test_a_merged_lead_is_enrolled_as_its_survivor(opens: Opens) -> None:
    house = await opens(WELCOME)
    await house.merge("l1", "l2")
    status, enrolled = await house.post("/api/journeys/welcome/enrollments", {"lead_id": "l2"})
    assert (status, enrolled["lead_id"]) == (201, "l1")


async def test_a_call_repeated_with_its_idempotency_key_begins_one_walk_and_finds_it_ever_after(opens: Opens) -> None:
    house = await opens(WELCOME.replace("audience:", "reentry: always\naudience:"))
    for lead_id in ("l1", "l2"):
        await house.happens("Page Viewed", lead=a_lead(id=lead_id))
    path, asked = "/api/journeys/welcome/enrollments", {"lead_id": "l1", "properties": {"plan": "pro"}}
    status, begun = await house.post(path, asked, idempotency_key="order-7")
    assert status == 201
    assert await house.post(path, asked, idempotency_key="order-7") == (200, begun)
    await house.merge("l2", "l1")
    await house.settles()
    for asking in (asked, {"lead_id": "l2"}):
        status, found = await house.post(path, asking, idempotency_key="order-7")
        assert (status, found["id"], found["lead_id"], found["step"]) == (200, begun["id"], "l2", "pause")
    assert house.sent == ["hello"]
    status, problem = await house.post(path, asked, idempotency_key="order-8")
    assert (status, problem["code"]) == (409, "inside")


async def test_a_call_repeated_with_its_key_finds_the_walk_it_began(opens: Opens) -> None:
    house = await opens(CART)
    await house.happens("Page Viewed")
    path = "/api/journeys/cart/enrollments"
    _, begun = await house.post(path, {"lead_id": "l1", "key": 7, "properties": {"value": 50}})
    assert await house.post(path, {"lead_id": "l1", "key": "7", "properties": {"value": 50}}) == (200, begun)
    status, problem = await house.post(path, {"lead_id": "l1", "key": "7", "properties": {"value": 60}})
    assert (status, problem["code"]) == (409, "inside")


async def test_an_address_that_only_a_browser_claims_hides_no_lead_that_a_server_named(opens: Opens) -> None:
    house = await opens(WELCOME)
    await house.happens("Page Viewed", lead=a_lead(id="real"))
    await house.happens("Page Viewed", lead=a_lead(id="claims", address_trusted=False, last_seen_at=NOON + timedelta(days=1)))
    _, enrolled = await house.post("/api/journeys/welcome/enrollments", {"email": "ana@example.com"})
    assert enrolled["lead_id"] == "real"


@pytest.mark.parametrize(
    ("journey", "request_", "status", "code"),
    [
        ("welcome", {"lead_id": "nobody"}, 404, "unknown_lead"),
        ("welcome", {"email": "nobody@example.com"}, 404, "unknown_lead"),
        ("welcome", {}, 400, "invalid"),
        ("welcome", {"lead_id": "l1", "email": "ana@example.com"}, 400, "invalid"),
        ("welcome", {"lead_id": "l1", "plan": "pro"}, 400, "invalid"),
        ("nothing", {"lead_id": "l1"}, 404, "unknown_journey"),
        ("cart", {"lead_id": "l1"}, 409, "no_key"),
        ("cart", {"lead_id": "l1", "key": "c1"}, 409, "inside"),
        ("welcome", {"lead_id": "l1"}, 409, "audience"),
    ],
)
async def test_who_may_not_enter_is_told_why(opens: Opens, journey: str, request_: dict[str, Any], status: int, code: str) -> None:
    house = await opens(WELCOME, CART)
    await house.happens("Cart Updated", lead=a_lead(traits={"ticket": 7}), cart="c1")
    answered, problem = await house.post(f"/api/journeys/{journey}/enrollments", request_)
    assert (answered, problem["code"]) == (status, code)
    assert house.sent == []


async def test_a_leads_enrollments_are_listed_newest_first_page_by_page(opens: Opens) -> None:
    house = await opens(CART)
    entered = []
    for number in range(5):
        house.passes("1m")
        await house.happens("Cart Updated", cart=f"c{number}")
        entered.append(house.clock.now())
    await house.happens("Cart Updated", lead=a_lead(id="l2"), cart="other")
    keys: list[str] = []
    cursor = None
    while True:
        page = await house.get("/api/enrollments", lead_id="l1", limit=2, **({"cursor": cursor} if cursor else {}))
        keys += [item["key"] for item in page["items"]]
        cursor = page["next"]
        if cursor is None:
            break
    assert keys == ["c4", "c3", "c2", "c1", "c0"]
    item = (await house.get("/api/enrollments", lead_id="l1"))["items"][0]
    assert item == {
        "id": item["id"],
        "lead_id": "l1",
        "journey": "cart",
        "version": item["version"],
        "key": "c4",
        "status": "active",
        "holdout": False,
        "step": "steps.0",
        "entered_at": z(entered[-1]),
        "wake_at": z(entered[-1] + timedelta(hours=1)),
        "ended_at": None,
        "reason": None,
        "converted_at": None,
        "message_under_way": False,
    }


async def test_a_leads_visits_are_listed_newest_first_also_by_a_merged_id(opens: Opens) -> None:
    house = await opens(CART, WELCOME)
    await house.happens("Signed Up", lead=a_lead(id="l2"))
    await house.happens("Cart Updated", lead=a_lead(id="l2"), cart="c1")
    house.passes("1h")
    await house.tick()
    await house.merge("l1", "l2")
    first = await house.get("/api/visits", lead_id="l2", limit=2)
    second = await house.get("/api/visits", lead_id="l1", limit=2, cursor=first["next"])
    visits = first["items"] + second["items"]
    assert {visit["step"] for visit in visits} == {"steps.1", "steps.0", "hello"}
    assert [visit["at"] for visit in visits] == sorted((visit["at"] for visit in visits), reverse=True)
    assert visits[0] == visits[0] | {"journey": "cart", "kind": "send", "outcome": "published", "reason": ""}
    assert visits[0]["message_id"] == house.sends[-1].id


async def test_a_cursor_of_somebody_else_is_refused(opens: Opens) -> None:
    house = await opens(CART)
    async with house.api() as client:
        for cursor in ("x", "1", "1.a.b.c", "99999999999999999999.a"):
            answer = await client.get("/api/enrollments", params={"lead_id": "l1", "cursor": cursor})
            assert (answer.status_code, answer.json()["code"]) == (400, "invalid")


async def test_the_audit_counts_what_each_step_reached(opens: Opens) -> None:
    house = await opens(WELCOME)
    await house.happens("Signed Up")
    await house.happens("Signed Up", lead=a_lead(id="l2"))
    audit = await house.get("/api/audit")
    assert audit["service"] == "journeys"
    checks = {check["name"]: check for check in audit["checks"]}
    assert checks["welcome · hello: reached = published + skipped"] == {
        "name": "welcome · hello: reached = published + skipped",
        "promise": 3,
        "ok": True,
        "left": 2,
        "right": 2,
        "detail": "2 published, 0 skipped",
        "offenders": [],
        "journey": "welcome",
        "step": "hello",
    }
    assert checks["walks without a wake-up stand at a message under way"]["left"] == 2
    assert checks["walks under way stand at a step of their version"]["left"] == 2
    now = house.clock.now()
    assert (await house.get("/api/audit/published", before=now.isoformat()))["items"] == []
    async with house.api() as client:
        assert (await client.get("/api/audit/published", params={"before": "2027-03-01T12:00:00"})).status_code == 400
    later = (now + timedelta(seconds=1)).isoformat()
    assert (await house.get("/api/audit/published", before=later))["items"] == [
        {"journey": "welcome", "step": "hello", "kind": "send", "count": 2}
    ]


async def test_the_audit_finds_a_walk_that_was_forgotten(opens: Opens) -> None:
    house = await opens(CART)
    await house.happens("Cart Updated", cart="c1")
    house.passes("2h")
    checks = {check["name"]: check["ok"] for check in (await house.get("/api/audit"))["checks"]}
    assert checks["no wake-up is overdue by half an hour"] is False
    await house.tick()


async def test_roles_bound_what_may_be_done(opens: Opens) -> None:
    house = await opens(CART)
    for role, path, allowed in [
        ("viewer", "pause", False),
        ("sales", "pause", False),
        ("marketer", "pause", True),
        ("viewer", "enrollments", False),
        ("sales", "enrollments", False),
        ("marketer", "enrollments", True),
    ]:
        status, _ = await house.post(f"/api/journeys/cart/{path}", {"lead_id": "l1", "key": "c1"}, role=role)
        assert (status != 403) is allowed, (role, path)
    async with house.api("nobody") as client:
        assert (await client.get("/api/journeys")).status_code == 401


async def test_an_entry_moment_is_the_clocks(opens: Opens) -> None:
    house = await opens(WELCOME)
    await house.happens("Page Viewed")
    await house.post("/api/journeys/welcome/enrollments", {"lead_id": "l1"})
    assert house.sends[0].entry.at == house.clock.now() > NOON
