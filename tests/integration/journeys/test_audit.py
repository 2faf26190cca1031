"""Each of journeys' counters: the damage is done by SQL, and the audit names it."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

from sqlalchemy import Executable, insert, update

from services.journeys.tables import ENROLLMENTS, VISITS
from shared import wire
from shared.auditing import LETTERS, OUTBOX
from tests.builders import a_lead, a_send
from tests.journeys_house import House

Opens = Callable[..., Awaitable[House]]
TWO = "journey: welcome\ntrigger: {event: Signed Up}\nsteps: [{id: pause, wait: 1h}, {id: hello, send: hello}]"


async def walking(opens: Opens) -> House:
    house = await opens(TWO)
    house.books_balance = False
    await house.happens("Signed Up")
    await house.happens("Signed Up", lead=a_lead(id="l2"))
    return house


async def damage(house: House, *statements: Executable) -> dict[str, dict[str, Any]]:
    async with house.database.transaction() as connection:
        for statement in statements:
            await connection.execute(statement)
    return {check["name"]: check for check in (await house.get("/api/audit"))["checks"] if not check["ok"]}


def only_l1(values: dict[str, Any]) -> Executable:
    return update(ENROLLMENTS).where(ENROLLMENTS.c.lead_id == "l1").values(values)


async def test_a_wake_up_that_is_overdue_names_lead_journey_and_step(opens: Opens) -> None:
    house = await walking(opens)
    broken = await damage(house, only_l1({"wake_at": house.clock.now() - timedelta(hours=1)}))
    (check,) = broken.values()
    assert (check["promise"], check["name"], check["left"]) == (2, "no wake-up is overdue by half an hour", 1)
    offender = check["offenders"][0]
    assert (offender["lead"], offender["journey"], offender["step"]) == ("l1", "welcome", "pause")


async def test_a_walk_that_nothing_wakes_and_that_waits_for_no_message_is_named(opens: Opens) -> None:
    house = await walking(opens)
    broken = await damage(house, only_l1({"wake_at": None}))
    check = broken["walks without a wake-up stand at a message under way"]
    assert (check["left"], check["right"], [one["lead"] for one in check["offenders"]]) == (1, 0, ["l1"])


async def test_a_walk_at_a_step_that_its_version_does_not_have_is_named(opens: Opens) -> None:
    house = await walking(opens)
    broken = await damage(house, only_l1({"step": "nowhere"}))
    check = broken["walks under way stand at a step of their version"]
    assert (check["left"], check["right"]) == (1, 2)
    assert [(one["lead"], one["journey"], one["step"]) for one in check["offenders"]] == [("l1", "welcome", "nowhere")]
    broken = await damage(house, only_l1({"step": None}))
    assert broken["walks under way stand at a step of their version"]["offenders"][0]["lead"] == "l1"


async def test_walks_of_a_version_that_cannot_be_read_are_no_mistake(opens: Opens) -> None:
    house = await walking(opens)
    await house.break_published()
    await house.publish(TWO + "\n# again")
    await house.restart()
    checks = {check["name"]: check for check in (await house.get("/api/audit"))["checks"]}
    assert checks["walks under way stand at a step of their version"]["ok"]
    assert checks["walks under way stand at a step of their version"]["detail"] == "2 of a version that cannot be read stand still"


async def test_a_visit_published_without_its_message_is_named(opens: Opens) -> None:
    house = await walking(opens)
    house.passes("1h")
    await house.tick()
    broken = await damage(house, update(VISITS).where(VISITS.c.step == "hello").values(message_id=None))
    check = broken["visits whose outcome is none of their step's"]
    assert (check["promise"], check["left"]) == (3, 2)
    named = {(one["lead"], one["journey"], one["step"]) for one in check["offenders"]}
    assert named == {("l1", "welcome", "hello"), ("l2", "welcome", "hello")}


async def test_a_send_step_that_was_neither_published_nor_skipped_does_not_reconcile(opens: Opens) -> None:
    house = await walking(opens)
    house.passes("1h")
    await house.tick()
    broken = await damage(house, update(VISITS).where(VISITS.c.step == "hello").values(outcome="waited", message_id=None))
    check = broken["welcome · hello: reached = published + skipped"]
    assert (check["left"], check["right"], check["journey"], check["step"]) == (2, 0, "welcome", "hello")


async def test_messages_of_a_step_are_listed_with_their_leads(opens: Opens) -> None:
    house = await walking(opens)
    house.passes("1h")
    await house.tick()
    later = (house.clock.now() + timedelta(seconds=1)).isoformat()
    page = await house.get("/api/audit/published/ids", journey="welcome", step="hello", before=later)
    assert {(one["id"], one["lead"]) for one in page["items"]} == {(send.id, send.lead_id) for send in house.sends}
    assert page["next"] is None


async def test_messages_that_never_reached_the_log_are_told_of(opens: Opens) -> None:
    house = await walking(opens)
    house.log.away = True
    house.passes("1h")
    await house.tick()
    send = wire.encode(a_send(journey="welcome", step="hello", reached_at=house.clock.now() - timedelta(hours=1)))
    letter = {"service": "journeys", "key": "k", "code": "too_large", "message": "", "payload": send, "at": house.clock.now()}
    await damage(house, insert(LETTERS).values(id="d1", topic=wire.MESSAGES, **letter))
    later = (house.clock.now() + timedelta(seconds=1)).isoformat()
    told = await house.get("/api/audit/published", before=later)
    async with house.database.reading() as connection:
        ids = sorted((await connection.execute(OUTBOX.select().where(OUTBOX.c.topic == wire.MESSAGES))).scalars())
    assert told["owed"] == [ids[0], ids[-1]]
    assert told["refused"] == [{"journey": "welcome", "step": "hello", "count": 1}]
