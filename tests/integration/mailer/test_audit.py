"""Each of the mailer's counters: the damage is done by SQL, and the audit names it."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import delete, insert, update

from services.mailer.tables import DELIVERIES, HANDOFFS, RECEIVED
from shared import wire
from shared.auditing import LETTERS, POSITIONS
from shared.clock import real_now
from tests.mailer_house import House

D = DELIVERIES.c


async def damage(house: House, *statements: Any) -> dict[str, dict[str, Any]]:
    house.books_balance = False
    async with house.database.transaction() as connection:
        for statement in statements:
            await connection.execute(statement)
    return {check["name"]: check for check in (await asked(house, "/api/audit"))["checks"] if not check["ok"]}


async def asked(house: House, path: str, **params: str) -> Any:
    async with house.api() as client:
        answer = await client.get(path, params=params)
    assert answer.status_code == 200, answer.text
    return answer.json()


def ana(check: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    return [(one["lead"], one["journey"], one["step"], one["delivery"]) for one in check["offenders"]]


@pytest.fixture
async def sent(house: House) -> House:
    """One mail is sent, another waits."""
    await house.receive(house.a_send(1))
    await house.tick()
    house.clock.advance(timedelta(minutes=1))
    await house.receive(house.a_send(2))
    await house.audit()
    assert (await house.statuses())["m1"] == "sent"
    return house


@pytest.mark.parametrize(
    ("delivery", "values", "name"),
    [
        ("m1", {"sent_at": None}, "no delivery is a sent one without its time"),
        ("m2", {"sent_at": real_now()}, "no delivery is one with a time that was not sent"),
        ("m1", {"message_id": None}, "no delivery is a sent mail without Message-ID"),
        ("m1", {"due_at": real_now()}, "no delivery is a settled one that is still due"),
        ("m2", {"due_at": None}, "no delivery is a queued one that is never due"),
    ],
)
async def test_a_row_that_should_not_be_is_named(sent: House, delivery: str, values: dict[str, Any], name: str) -> None:
    (check,) = (await damage(sent, update(DELIVERIES).where(D.id == delivery).values(values))).values()
    assert (check["name"], check["promise"], check["left"]) == (name, 3, 1)
    assert ana(check) == [("l1", "welcome", "hello", delivery)]


async def test_a_sending_that_outlived_its_lease_is_named(sent: House) -> None:
    long_ago = sent.clock.now() - timedelta(minutes=2)
    (check,) = (await damage(sent, update(DELIVERIES).where(D.id == "m2").values(status="sending", due_at=long_ago))).values()
    assert (check["promise"], check["name"]) == (4, "no delivery is a `sending` that outlived its lease")
    assert ana(check) == [("l1", "welcome", "hello", "m2")]


async def test_what_is_in_doubt_is_listed_and_no_mistake(sent: House) -> None:
    assert not await damage(sent, update(DELIVERIES).where(D.id == "m2").values(status="in_doubt", due_at=None))
    checks = {check["name"]: check for check in (await asked(sent, "/api/audit"))["checks"]}
    assert ana(checks["deliveries in doubt are kept as such"]) == [("l1", "welcome", "hello", "m2")]
    assert checks["deliveries in doubt are kept as such"]["detail"].startswith("1 in doubt")


async def test_a_step_whose_delivery_vanished_does_not_sum_up(sent: House) -> None:
    (check,) = (await damage(sent, delete(DELIVERIES).where(D.id == "m2"))).values()
    assert (check["promise"], check["journey"], check["step"], check["received"], check["sent"]) == (3, "welcome", "hello", 2, 1)
    broken = await damage(sent, delete(RECEIVED))
    assert [(one["left"], one["right"]) for one in broken.values()] == [(0, 1)]


async def test_a_hand_off_that_vanished_is_named_by_its_webhook(house: House) -> None:
    await house.receive(house.a_handoff(3))
    (check,) = (await damage(house, delete(HANDOFFS))).values()
    assert (check["given"], check["left"], check["right"]) == (1, 1, 0)
    assert [one["delivery"] for one in check["offenders"]] == ["m3"]


async def test_a_hand_off_whose_clock_was_overslept_is_named(house: House) -> None:
    await house.receive(house.a_handoff(3))
    broken = await damage(house, update(HANDOFFS).values(due_at=house.clock.now() - timedelta(minutes=2)))
    (check,) = broken.values()
    assert check["name"] == "no hand-off is an open one whose clock ran out long ago"
    assert [(one["lead"], one["handoff"]) for one in check["offenders"]] == [("l1", "m3")]


async def test_the_mailer_says_what_it_never_got_and_how_far_it_has_read(sent: House) -> None:
    letter = {"service": "mailer", "key": "k", "code": "bug", "message": "", "at": sent.clock.now()}
    message = wire.encode(sent.a_send(7, reached_at=sent.clock.now()))
    await damage(
        sent,
        insert(POSITIONS).values(consumer_group="mailer", topic=wire.MESSAGES, partition=0, next_offset=0),
        insert(LETTERS).values(id="d1", topic=wire.MESSAGES, payload=message, **letter),
        insert(LETTERS).values(id="d2", topic=wire.MESSAGES, payload=b"not ours", **letter),
    )
    before = (sent.clock.now() + timedelta(seconds=1)).isoformat()
    found = await asked(sent, "/api/audit/received", before=before)
    assert (found["read"], found["ends"]) == ({"0": 0}, {"0": 0})
    assert found["refused"] == [{"journey": "welcome", "step": "hello", "count": 1}]
    async with sent.api() as client:
        answer = await client.post("/api/audit/unknown", json={"ids": ["m1", "m7"]})
    assert answer.json() == {"items": ["m7"]}
