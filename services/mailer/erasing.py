"""`Lead Erased` → mailer: what waits for the lead stays, and what is left of its deliveries says nothing of the person.

Deliveries and hand-offs stay as rows, for the promises' counts are made of them. A mail that is being handed over cannot be called back:
its row is emptied as soon as its outcome is known (`finish`), and until then the erasure is not done here.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence, Set
from typing import cast

import msgspec
from sqlalchemy import ColumnElement, Table, bindparam, case, delete, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from services.mailer.policy import WAITING, address_key
from services.mailer.tables import ADDRESSES, DELIVERIES, HANDOFFS, LEADS, REQUESTS, SUPPRESSIONS
from shared import wire
from shared.db import Database, among
from shared.erasing import ERASED, ERASURES, GRAVES, REASON, Marks, add_removed, bury, delete_letters, find_erased
from shared.errors import InvalidMessage
from shared.log import Record
from shared.names import address_name, mailbox_of
from shared.work import Outbox, Work

D = DELIVERIES.c
OF_AN_ADDRESS: Mapping[str, Table] = {"suppressions": SUPPRESSIONS, "addresses": ADDRESSES}
"""Tables whose rows belong to an address and go with it."""
Counts = dict[str, int]


async def without_erased(work: Work, activities: Sequence[Record], marks: Marks) -> list[Record]:
    """Obey the erasures among these activities; answers those of leads that are still there."""
    for record in activities:
        if _TELLS in record.value and (erasure := _erasure(record.value)) is not None:
            await obey(work, erasure, marks)
    gone = await find_erased(work.conn, work.service, {record.key for record in activities})
    return [record for record in activities if record.key not in gone]


async def obey(work: Work, erasure: wire.Erasure, marks: Marks) -> None:
    """Forget the lead and those that became part of it. A repeat finds nothing more."""
    found = await work.conn.execute(select(LEADS.c.id).where(among(LEADS.c.merged_into, erasure.lead_ids)))
    removed, is_done = await _forget(work, {*erasure.lead_ids, *found.scalars()}, await _marked(work.conn, erasure.marks, marks))
    removed["dead_letters"] = await delete_letters(work.conn, work.service, erasure, marks)
    await bury(work.conn, work.service, erasure, removed, work.now if is_done else None)


async def finish(outbox: Outbox, database: Database, marks: Marks) -> None:
    """Empty what was under way when its lead was erased, as far as it has arrived since."""
    unfinished = select(ERASURES.c.lead_id).where(ERASURES.c.service == outbox.service, ERASURES.c.done_at.is_(None))
    async with database.reading() as connection:
        lead_ids = (await connection.execute(unfinished)).scalars().all()
    if not lead_ids:
        return
    async with outbox.work() as work:
        free = unfinished.where(among(ERASURES.c.lead_id, lead_ids)).with_for_update(skip_locked=True)
        for lead_id in (await work.conn.execute(free)).scalars().all():
            told = await _grave_of(work, lead_id)
            ids = {mark.removeprefix("lead:") for mark in told if mark.startswith("lead:")}
            removed, is_done = await _forget(work, ids, await _marked(work.conn, told, marks))
            await add_removed(work.conn, work.service, lead_id, removed, work.now if is_done else None)


async def empty_arrivals(work: Work, sends: Iterable[wire.Send]) -> None:
    """A message for a lead that is erased already is counted as every other, and stays."""
    gone = await find_erased(work.conn, work.service, {send.lead_id for send in sends})
    if gone:
        await _empty_deliveries(work, among(D.lead_id, gone))
        await _empty_handoffs(work, gone)


async def _grave_of(work: Work, lead_id: str) -> set[str]:
    found = select(GRAVES.c.mark).where(GRAVES.c.service == work.service, GRAVES.c.lead_id == lead_id)
    return set((await work.conn.execute(found)).scalars())


async def _marked(connection: AsyncConnection, told: Collection[str], marks: Marks) -> set[str]:
    """Addresses of the person that no profile here names, and no delivery to a lead; only their marks are told."""
    kept = {address for _, address in await _to_strangers(connection)}
    for table in OF_AN_ADDRESS.values():
        kept |= set((await connection.execute(select(table.c.address).distinct())).scalars())
    return {address for address in kept if marks.of(address_name(address)) in told}


async def to_strangers(connection: AsyncConnection, addresses: Set[str]) -> list[str]:
    """The deliveries to these addresses (by `address_key`) that belong to no lead."""
    return [delivery_id for delivery_id, address in await _to_strangers(connection) if address in addresses] if addresses else []


async def _to_strangers(connection: AsyncConnection) -> list[tuple[str, str]]:
    """Every delivery that belongs to no lead, with where it went, or is to go: that is written down only when it is taken in hand."""
    unread = case((D.address.is_(None), D.message))
    found = []
    for row in await connection.execute(select(D.id, D.address, unread.label("message")).where(D.lead_id == "", D.kind == "email")):
        address = row.address or _send(row.message).to
        if address is not None:
            found.append((row.id, address_key(address)))
    return found


async def _forget(work: Work, lead_ids: Collection[str], marked: Set[str]) -> tuple[Counts, bool]:
    """What was removed, and whether all of it could be."""
    addresses = await addresses_of(work.conn, lead_ids, marked)
    removed = {"deliveries": await _empty_deliveries(work, among(D.lead_id, lead_ids)), "leads": await _empty_leads(work.conn, lead_ids)}
    strangers = await to_strangers(work.conn, addresses)
    removed["deliveries"] += await _empty_deliveries(work, among(D.id, strangers))
    await _empty_handoffs(work, lead_ids)
    for what, table in OF_AN_ADDRESS.items():
        removed[what] = (await work.conn.execute(delete(table).where(among(table.c.address, addresses)))).rowcount
    removed["addresses"] += await _delete_questions(work.conn, addresses)
    sending = select(D.id).where(among(D.lead_id, lead_ids) | among(D.id, strangers), D.status == "sending").limit(1)
    return removed, (await work.conn.execute(sending)).one_or_none() is None


async def addresses_of(connection: AsyncConnection, lead_ids: Collection[str], marked: Set[str] = frozenset()) -> set[str]:
    """Where the lead was reached, or could be; not what another lead shares: what is known of that address protects him."""
    known = await connection.execute(select(LEADS.c.address).where(among(LEADS.c.id, lead_ids), LEADS.c.address.is_not(None)))
    mailed = await connection.execute(select(D.address).where(among(D.lead_id, lead_ids), D.address.is_not(None)).distinct())
    keys = {address_key(address) for address in (*marked, *known.scalars(), *mailed.scalars())}
    shared = select(LEADS.c.address).where(among(LEADS.c.address, keys), ~among(LEADS.c.id, lead_ids))
    return keys - set((await connection.execute(shared)).scalars())


async def _delete_questions(connection: AsyncConnection, addresses: Iterable[str]) -> int:
    """When the mailboxes of tagged addresses were asked; a row that says more is that of somebody who has the untagged address."""
    only_asked = (ADDRESSES.c.paused_until.is_(None), ADDRESSES.c.confirmed_at.is_(None))
    mailboxes = {mailbox_of(address) for address in addresses}
    return (await connection.execute(delete(ADDRESSES).where(among(ADDRESSES.c.address, mailboxes), *only_asked))).rowcount


async def _empty_leads(connection: AsyncConnection, lead_ids: Collection[str]) -> int:
    known = (among(LEADS.c.id, lead_ids), LEADS.c.lead != b"")
    return (await connection.execute(update(LEADS).where(*known).values(lead=b"", address=None))).rowcount


async def _empty_deliveries(work: Work, theirs: ColumnElement[bool]) -> int:
    """Keep those that wait from going, and take the person out of all that are not just being handed over; says of how many."""
    rows = select(D.id, D.message).where(theirs, D.status != "sending").order_by(D.id).with_for_update()
    full = [(row.id, emptied) for row in await work.conn.execute(rows) if (emptied := _emptied(row.message)) != row.message]
    if full:
        await work.conn.execute(_EMPTY, [{"the_id": delivery_id, "emptied": emptied} for delivery_id, emptied in full])
        await work.conn.execute(delete(REQUESTS).where(among(REQUESTS.c.delivery_id, [delivery_id for delivery_id, _ in full])))
    waiting = update(DELIVERIES).where(theirs, D.status.in_(WAITING))
    await work.conn.execute(waiting.values(status="suppressed", reason=REASON, due_at=None, claimed_at=None, claims=D.claims + 1))
    return len(full)


async def _empty_handoffs(work: Work, lead_ids: Collection[str]) -> None:
    """An open one ends, for nobody is left to be taken care of; what sales said of the person goes too."""
    theirs = update(HANDOFFS).where(among(HANDOFFS.c.lead_id, lead_ids))
    await work.conn.execute(theirs.where(HANDOFFS.c.status == "open").values(status="expired", answered_at=work.now))
    emptied = {"lead_id": "", "reason": None, "due_at": None, "snoozed_until": None, "moves": HANDOFFS.c.moves + 1}
    await work.conn.execute(theirs.values(emptied))


_EMPTY = (
    update(DELIVERIES)
    .where(D.id == bindparam("the_id"))
    .values(message=bindparam("emptied"), address=None, targets=b"[]", body=None, detail=None, counted_for=None)
)


def _send(message: bytes) -> wire.Send:
    """What was asked for; the ledger holds nothing else."""
    return cast(wire.Send, wire.decode_message(message))


def _emptied(message: bytes) -> bytes:
    """What was asked for, without for whom and why."""
    send = _send(message)
    kept = {name: getattr(send, name) for name in _KEPT}
    return wire.encode(wire.Send(**kept, entry=wire.Entry(at=send.entry.at)))


_KEPT = (
    *("id", "kind", "lead_id", "journey", "version", "enrollment_id", "transition", "step", "template", "endpoint"),
    *("category", "topic", "priority", "reached_at", "expires_at", "entered_at", "depth"),
)


_TELLS = f'"{ERASED}"'.encode()


def _erasure(activity: bytes) -> wire.Erasure | None:
    try:
        event = wire.decode_activity(activity).event
        return msgspec.convert(event.properties, wire.Erasure) if event.name == ERASED else None
    except msgspec.MsgspecError as error:
        raise InvalidMessage("undecodable", str(error)) from error
