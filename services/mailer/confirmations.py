"""Asks the owners of addresses that browsers gave, and nobody too often: a form that anybody can fill in must not make us a cannon.

activity of `consent.events` ──► a delivery to that address, or one suppressed with the reason ──► the ledger's usual way
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import func, select

from services.mailer import store
from services.mailer.addresses import lock_addresses, save_addresses
from services.mailer.editions import Editions
from services.mailer.loader import MailerPlaybook
from services.mailer.opt_in import ASKED_LATELY, CONFIRMATION, TOO_MANY, OptIn, address_to_ask, confirmation
from services.mailer.policy import State
from services.mailer.tables import DELIVERIES, RECEIVED
from shared import wire
from shared.errors import ConfigurationError
from shared.names import mailbox_of
from shared.work import Work

HOUR = timedelta(hours=1)
WENT_OR_WILL = ("queued", "deferred", "sending", "sent", "in_doubt", "failed")
D = DELIVERIES.c


@dataclass(slots=True)
class Room:
    """How often we may ask yet: each mailbox by when it was last asked, and all together."""

    asked_at: dict[str, datetime]
    left: int

    def take(self, address: str, rule: OptIn, now: datetime) -> str | None:
        """Why this address may not be asked now; None where it is."""
        key = mailbox_of(address)
        if key in self.asked_at and now - self.asked_at[key] < rule.per_address:
            return ASKED_LATELY
        if self.left <= 0:
            return TOO_MANY
        self.left -= 1
        self.asked_at[key] = now
        return None


class Confirmations:
    """What activities have to do with double opt-in."""

    def __init__(self, editions: Editions) -> None:
        self._editions = editions

    async def playbook(self) -> MailerPlaybook | None:
        """The one whose `consent` counts: that in force."""
        try:
            return await self._editions.newest()
        except ConfigurationError:
            return None

    async def ask(self, work: Work, playbook: MailerPlaybook, activities: Sequence[wire.Activity]) -> None:
        """Write to those who must be asked. An activity that is read again asks nobody again."""
        asked = [(activity, address) for activity in activities if (address := address_to_ask(activity)) is not None]
        sends = {send.id: send for send in (confirmation(activity, address, playbook.version, work.now) for activity, address in asked)}
        known = await store.lock(work.conn, sends)
        new = [send for send in sends.values() if send.id not in known]
        if new:
            await _ask(work, new, playbook.opt_in)


async def _ask(work: Work, sends: Sequence[wire.Send], rule: OptIn) -> None:
    room = await _room(work, [send.to or "" for send in sends], rule)
    refused = {send.id: why for send in sends if (why := room.take(send.to or "", rule, work.now)) is not None}
    await store.receive(work, sends, {})
    asked = {mailbox_of(send.to or "") for send in sends if send.id not in refused}
    await save_addresses(work.conn, asked, asked_at=work.now)
    rows = await store.lock(work.conn, refused)
    await store.save_states(work, [(row, State("suppressed", refused[row.id])) for row in rows.values()])


async def _room(work: Work, addresses: Sequence[str], rule: OptIn) -> Room:
    """Counted under a lock that every replica takes: the row that counts what came under this step."""
    step = (RECEIVED.c.journey == "", RECEIVED.c.step == CONFIRMATION)
    await work.conn.execute(select(RECEIVED.c.count).where(*step).with_for_update())
    known = await lock_addresses(work.conn, {mailbox_of(address) for address in addresses})
    asked = await work.conn.execute(
        select(func.count()).where(D.journey == "", D.step == CONFIRMATION, D.status.in_(WENT_OR_WILL), D.reached_at > work.now - HOUR)
    )
    last = {key: row.asked_at for key, row in known.items() if row.asked_at is not None}
    return Room(last, rule.per_hour - int(asked.scalar_one()))
