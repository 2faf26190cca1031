"""Promise 3 under any order of anything: what was received is sent, suppressed, waiting, in doubt or failed, and no mail goes twice.

Each hand-off ends once: accepted, rejected or expired, whoever answers and whatever its endpoints do.
"""

import asyncio
import tempfile
from collections import Counter
from datetime import timedelta
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from services.mailer.outcomes import Deferred, Delivered, Gone, Held, InDoubt, Outcome, Refused
from services.mailer.tables import HANDOFFS
from shared import wire
from tests.builders import a_lead
from tests.mailer_house import CONSENT, House

LEADS = ("l1", "l2")
OFFERS = [None, None, None, Deferred("relay_deferred"), Held("relay_unreachable"), Refused("recipient_refused", dead_address=True)]
ANSWERS: list[Outcome] = [Delivered(), Delivered(), Deferred("relay_deferred"), InDoubt("no_answer"), Refused("mail_refused", ours=True)]
POSTED = [Delivered(), Delivered(), Deferred("endpoint_error"), Refused("forbidden_address"), Gone("HTTP 410")]
ENDINGS = {"Handoff Accepted", "Handoff Rejected", "Handoff Expired"}
H = HANDOFFS.c

numbers = st.integers(1, 6)
operation = st.one_of(
    st.tuples(st.just("send"), numbers, st.sampled_from(LEADS), st.sampled_from(["marketing", "transactional"])),
    st.tuples(st.just("hand_off"), numbers, st.sampled_from(LEADS), st.sampled_from([None, 1, 4]), st.sampled_from(["", "slow"])),
    st.tuples(st.just("endpoint"), st.sampled_from(["sales", "slow"]), st.sampled_from(POSTED)),
    st.tuples(st.just("answer"), numbers, st.sampled_from(["accepted", "rejected", "snoozed"])),
    st.tuples(st.just("clock"), st.sampled_from([0, 60, 3600, 5 * 3600])),
    st.tuples(st.just("withdraw"), numbers),
    st.tuples(st.just("know"), st.sampled_from(LEADS), st.booleans()),
    st.tuples(st.just("merge")),
    st.tuples(st.just("relay"), st.sampled_from(OFFERS), st.sampled_from(ANSWERS)),
    st.tuples(st.just("tick"), st.sampled_from([0, 5, 60, 3600])),
    st.tuples(st.just("killed"), st.booleans()),
    st.tuples(st.just("restart")),
    st.tuples(st.just("retry"), numbers),
    st.tuples(st.just("resolve"), numbers, st.sampled_from(["sent", "failed", "retry"])),
    st.tuples(st.just("unsubscribe"), numbers),
)


class Play:
    """Applies operations and remembers what must hold."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.sequence = 1
        self.asked_for: Counter[str] = Counter()

    async def apply(self, name: str, *arguments: object) -> None:
        await getattr(self, name)(*arguments)

    async def send(self, number: int, lead_id: str, category: str) -> None:
        await self.house.receive(self.house.a_send(number, lead_id=lead_id, category=category))

    async def hand_off(self, number: int, lead_id: str, hours: int | None, fallback: str) -> None:
        sla = timedelta(hours=hours) if hours else None
        await self.house.receive(self.house.a_handoff(100 + number, lead_id=lead_id, sla=sla, fallback=fallback))

    async def endpoint(self, name: str, answer: Delivered | Deferred | Refused | Gone) -> None:
        self.house.webhooks.answers[name] = answer

    async def answer(self, number: int, word: str) -> None:
        path = self.house.links.respond_url(f"m{100 + number}").removeprefix("https://mail.example")
        async with self.house.api() as client:
            answer = await client.post(path, json={"answer": word})
        assert answer.status_code in (200, 409, 410)

    async def clock(self, seconds: int) -> None:
        self.house.clock.advance(timedelta(seconds=seconds))
        await self.house.desk.tick(self.house.clock.now())

    async def withdraw(self, number: int) -> None:
        await self.house.receive(wire.Withdraw(id=f"m{number}", lead_id="l1", reason="goal", at=self.house.clock.now()))

    async def know(self, lead_id: str, consents: bool) -> None:
        self.sequence += 1
        consent = CONSENT if consents else wire.Consent()
        await self.house.know(a_lead(id=lead_id, consent=consent), sequence=self.sequence)

    async def merge(self) -> None:
        self.sequence += 1
        await self.house.know(a_lead(consent=CONSENT), sequence=self.sequence, merged_from="l2")

    async def relay(self, offer: Deferred | Refused | Held | None, answer: Outcome) -> None:
        self.house.relay.to_offer, self.house.relay.to_mail = offer, answer

    async def tick(self, seconds: int) -> None:
        await self.house.go_on(seconds=seconds)

    async def killed(self, after_the_mail: bool) -> None:
        """Another process takes what is due and dies: after it handed the mail over, or before."""
        dying = Dying(self.house, after_the_mail)
        other = self.house.new_scheduler(relay=dying)
        await other.tick(self.house.clock.now())
        await other.idle()

    async def restart(self) -> None:
        self.house.scheduler = self.house.new_scheduler(alone=True)
        await self.house.tick()

    async def retry(self, number: int) -> None:
        async with self.house.api() as client:
            answer = await client.post(f"/api/deliveries/m{number}/retry")
        self.asked_for[f"m{number}"] += answer.status_code == 200

    async def resolve(self, number: int, how: str) -> None:
        async with self.house.api() as client:
            answer = await client.post(f"/api/deliveries/m{number}/resolve", json={"as": how})
        self.asked_for[f"m{number}"] += answer.status_code == 200 and how == "retry"

    async def unsubscribe(self, number: int) -> None:
        await self.house.readers.unsubscribe(f"m{number}", self.house.clock.now())


class Dying:
    """A relay whose client is killed."""

    def __init__(self, house: House, after_the_mail: bool) -> None:
        self._house = house
        self._after_the_mail = after_the_mail

    async def offer(self, sender: str, recipient: str) -> "Dying":
        if not self._after_the_mail:
            raise asyncio.CancelledError
        return self

    async def data(self, message: bytes) -> Outcome:
        self._house.relay.taken.append(("", message))
        self._house.relay.outcomes.append(InDoubt("killed"))
        raise asyncio.CancelledError

    async def withdraw(self) -> None:
        return

    async def close(self) -> None:
        return


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(operations=st.lists(operation, max_size=25))
def test_whatever_happens_in_whatever_order_the_books_balance(operations: list[tuple[object, ...]]) -> None:
    asyncio.run(played(operations))


async def played(operations: list[tuple[object, ...]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        house = House(Path(folder))
        await house.open()
        play = Play(house)
        try:
            for name, *arguments in operations:
                await play.apply(str(name), *arguments)
                await house.audit()
            await no_mail_went_twice(house, play)
            await everything_ends(house)
            await every_handoff_ended_once(house)
        finally:
            await house.database.close()


async def no_mail_went_twice(house: House, play: Play) -> None:
    """What the relay took or may have taken of a marketing mail: one, and one more each time a person said so."""
    taken = zip(house.relay.taken, house.relay.outcomes, strict=True)
    accepted = Counter(_message_id(mail) for (_, mail), outcome in taken if isinstance(outcome, Delivered | InDoubt))
    for delivery_id in await house.statuses():
        row = await house.row(delivery_id)
        send = wire.decode_message(row.message)
        assert isinstance(send, wire.Send)
        if send.category == "marketing":
            assert accepted[row.message_id] <= 1 + play.asked_for[delivery_id]


def _message_id(mail: bytes) -> str:
    return mail.split(b"Message-ID: ")[1].split(b"\r\n")[0].decode()


async def every_handoff_ended_once(house: House) -> None:
    """No ending was told of an open one, and one of each that is not."""
    endings = Counter(event.properties["handoff_id"] for event in house.log.events if event.name in ENDINGS)
    async with house.database.reading() as connection:
        statuses = {row.id: row.status for row in await connection.execute(select(H.id, H.status))}
    assert endings == Counter({handoff_id: 1 for handoff_id, status in statuses.items() if status != "open"})


async def everything_ends(house: House) -> None:
    """With a relay that works and time enough, nothing is left waiting."""
    house.relay.to_offer, house.relay.to_mail = None, Delivered()
    house.webhooks.answers.clear()
    await house.know(a_lead(id="l1", consent=CONSENT), a_lead(id="l2", consent=CONSENT), sequence=10_000)
    for _ in range(12):
        await house.go_on(hours=8)
        await house.desk.tick(house.clock.now())
    await house.tick()
    assert not set((await house.statuses()).values()) & {"queued", "deferred", "sending"}
    await house.audit()
