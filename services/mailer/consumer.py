"""What reaches the mailer: messages become deliveries, activities keep its view of each lead.

messages (Send, Withdraw) ──► ledger rows          activities ──► mailer_lead
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import msgspec
from msgspec import Raw, Struct

from services.mailer import leads, store
from services.mailer.confirmations import Confirmations
from services.mailer.erasing import empty_arrivals, without_erased
from services.mailer.handoff_desk import HandoffDesk
from services.mailer.leads import Profile
from services.mailer.ledger import suppress_withdrawn
from shared import wire
from shared.erasing import Marks, find_erased
from shared.errors import InvalidMessage
from shared.log import Record
from shared.work import Work

T = TypeVar("T")


class _Deed(Struct):
    name: str = ""
    trusted: bool = False


class _Glance(Struct):
    """The little of an activity that says whether it matters here: most do not, and cost no more than this."""

    sequence: int
    lead: Raw
    event: _Deed
    profile_changed: bool = True
    merged_from: str | None = None


class _Address(Struct):
    id: str
    email: str | None = None


_glance = msgspec.json.Decoder(_Glance).decode
_address = msgspec.json.Decoder(_Address).decode


async def on_activities(work: Work, records: Sequence[Record], marks: Marks, confirmations: Confirmations | None = None) -> None:
    """Keep what leads are, then ask those who must be asked whether they want mail. A lead that was erased is forgotten, and stays so."""
    records = await without_erased(work, records, marks)
    glances = [(record.key, _decoded(_glance, record.value)) for record in records]
    await _keep(work, glances)
    playbook = await confirmations.playbook() if confirmations else None
    if confirmations is None or playbook is None:
        return
    asking = [
        _decoded(wire.decode_activity, record.value)
        for record, (_, glance) in zip(records, glances, strict=True)
        if glance.event.name in playbook.opt_in.events and not glance.event.trusted
    ]
    if asking:
        await confirmations.ask(work, playbook, asking)


async def _keep(work: Work, glances: Sequence[tuple[str, _Glance]]) -> None:
    """The newest profile of each lead whose profile changed, that merged, or that was unknown; the rest only moves the position."""
    silent = {lead_id for lead_id, glance in glances if not glance.profile_changed and glance.merged_from is None}
    unknown = await leads.unknown(work.conn, silent)
    telling = [glance for lead_id, glance in glances if glance.profile_changed or glance.merged_from is not None or lead_id in unknown]
    if not telling:
        return
    profiles: dict[str, Profile] = {}
    merges: dict[str, str] = {}
    for glance in telling:
        profile = _profile(glance)
        if profile.id not in profiles or profiles[profile.id].sequence < profile.sequence:
            profiles[profile.id] = profile
        if glance.merged_from is not None:
            merges[glance.merged_from] = profile.id
    new = await leads.save_profiles(work.conn, profiles)
    await leads.merge(work.conn, merges)
    await store.make_due(work.conn, new, work.now)


def _profile(glance: _Glance) -> Profile:
    raw = bytes(glance.lead)
    about = _decoded(_address, raw)
    return Profile(about.id, glance.sequence, about.email, raw)


async def _learn(work: Work, sends: Iterable[wire.Send]) -> None:
    """A message may overtake the activity it goes by, which comes by another topic: what its journey knew of the lead is told here."""
    profiles: dict[str, Profile] = {}
    for send in sends:
        if send.lead is not None and (send.lead.id not in profiles or profiles[send.lead.id].sequence < send.sequence):
            profiles[send.lead.id] = Profile(send.lead.id, send.sequence, send.lead.email, wire.encode(send.lead))
    for gone in await find_erased(work.conn, work.service, profiles.keys()):
        del profiles[gone]
    if profiles:
        await store.make_due(work.conn, await leads.save_profiles(work.conn, profiles), work.now)


class Arrivals:
    """What journeys asks for, as it arrives."""

    def __init__(self, desk: HandoffDesk) -> None:
        self._desk = desk

    async def on_messages(self, work: Work, records: Sequence[Record]) -> None:
        """One delivery a message, however often it comes; a withdrawn one stays away, whichever of the two came first."""
        messages = [_decoded(wire.decode_message, record.value) for record in records]
        sends = {message.id: message for message in messages if isinstance(message, wire.Send)}
        withdrawals = [message for message in messages if isinstance(message, wire.Withdraw)]
        await store.save_withdrawals(work.conn, withdrawals)
        await _learn(work, sends.values())
        bodies = {send.id: self._desk.body(send, send.id) for send in sends.values() if send.kind == "handoff"}
        fresh = await store.receive(work, list(sends.values()), bodies)
        await self._desk.receive(work, [send for send in fresh if send.kind == "handoff"])
        await suppress_withdrawn(work, sends.keys() | {withdrawal.id for withdrawal in withdrawals})
        await empty_arrivals(work, sends.values())


def _decoded(decode: Callable[[Any], T], value: bytes) -> T:
    try:
        return decode(value)
    except msgspec.MsgspecError as error:
        raise InvalidMessage("undecodable", str(error)) from error
