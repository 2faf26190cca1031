"""Transactional mail that a server asks for: one request, one delivery, however often the request is repeated.

POST /api/messages ──► the ledger's row, in the transaction that the 202 stands for ──► the way of every mail
"""

import uuid
from collections.abc import Callable
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Body, Header
from pydantic import BaseModel, ConfigDict, Field, model_validator
from sqlalchemy import select

from services.mailer import leads, store
from services.mailer.editions import Editions
from services.mailer.loader import MailerPlaybook
from services.mailer.mime import bare_address
from services.mailer.tables import REQUESTS
from shared import wire
from shared.db import insert_new
from shared.errors import ConfigurationError
from shared.http import Problem, allow
from shared.shapes import named, suggestion
from shared.signing import Signer
from shared.work import Outbox, Work

LARGEST_PROPERTIES = 32 * 1024
"""Bytes of JSON, as an event's."""
_MESSAGES = uuid.UUID("0b7c7c0e-2a3f-4a43-8d0c-7d2a8f1b9f55")
_encode = msgspec.json.Encoder(order="sorted").encode

Key = Annotated[str | None, Header(alias="Idempotency-Key", min_length=1, max_length=255)]


class NewMessage(BaseModel):
    """A mail to one reader: `to`, an address, or `lead_id`. The template sees `properties` as `entry.properties`."""

    model_config = ConfigDict(extra="forbid")

    template: Annotated[str, Field(min_length=1, max_length=200)]
    to: Annotated[str, Field(max_length=320)] | None = None
    lead_id: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    properties: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_reader(self) -> "NewMessage":
        if (self.to is None) == (self.lead_id is None):
            raise ValueError("send either `to` or `lead_id`")
        return self


def message_routes(outbox: Outbox, editions: Editions, signer: Signer, wake: Callable[[], None]) -> APIRouter:
    """Messages asked for over the API. `wake` tells the scheduler."""
    router = APIRouter(prefix="/api/messages", dependencies=[allow("marketer")])

    @router.post("", status_code=202)
    async def ask_for(message: Annotated[NewMessage, Body()], key: Key = None) -> dict[str, Any]:
        digest = signer.mac("message", _checked(message))
        async with outbox.work() as work:
            delivery_id = await _known(work, key, digest) if key else None
            if delivery_id is None:
                delivery_id = await _receive(work, message, await _playbook(editions), key)
                await _remember(work, key, digest, delivery_id)
        wake()
        return {"id": delivery_id, "kind": "email", "template": message.template}

    return router


def _checked(message: NewMessage) -> bytes:
    """The request as bytes; Problem where it cannot be a message."""
    if message.to is not None:
        try:
            bare_address(message.to)
        except ValueError as broken:
            raise Problem(400, "invalid", f"to: {broken}") from broken
    if len(_encode(message.properties)) > LARGEST_PROPERTIES:
        raise Problem(400, "invalid", f"properties: more than {LARGEST_PROPERTIES} bytes; put less into one mail")
    return _encode(message.model_dump())


async def _known(work: Work, key: str, digest: bytes) -> str | None:
    """The delivery that this key stands for already; Problem where it was another request's."""
    found = (await work.conn.execute(select(REQUESTS.c.digest, REQUESTS.c.delivery_id).where(REQUESTS.c.key == key))).one_or_none()
    if found is None:
        return None
    if found.digest != digest:
        raise Problem(409, "key_reused", "this Idempotency-Key came with another request before: take a new key for a new message")
    delivery_id: str = found.delivery_id
    return delivery_id


async def _remember(work: Work, key: str | None, digest: bytes, delivery_id: str) -> None:
    """Keep the request. Of two that come at once with one key the second waits here, and then finds the first's."""
    if key:
        await insert_new(work.conn, REQUESTS, [{"key": key, "digest": digest, "delivery_id": delivery_id, "at": work.now}], "key")
        await _known(work, key, digest)


async def _playbook(editions: Editions) -> MailerPlaybook:
    try:
        return await editions.newest()
    except ConfigurationError as error:
        raise Problem(409, "no_playbook", f"there is no playbook in force: {error}") from error


async def _receive(work: Work, message: NewMessage, playbook: MailerPlaybook, key: str | None) -> str:
    if message.template not in playbook.templates:
        meant = suggestion(message.template, playbook.templates) or f"; there are {named(playbook.templates)}"
        raise Problem(400, "unknown_template", f"there is no template `{message.template}` in the playbook in force{meant}")
    delivery_id = str(uuid.uuid5(_MESSAGES, key) if key else uuid.uuid4())
    send = wire.Send(
        id=delivery_id,
        kind="email",
        lead_id=await _reader(work, message),
        version=playbook.version,
        template=message.template,
        to=message.to.strip() if message.to else None,
        category="transactional",
        reached_at=work.now,
        entry=wire.Entry(at=work.now, properties=message.properties),
        entered_at=work.now,
    )
    await store.receive(work, [send], {})
    return delivery_id


async def _reader(work: Work, message: NewMessage) -> str:
    """The lead it is for; empty where nobody is known by that address."""
    if message.lead_id is None:
        return await leads.find_by_address(work.conn, message.to or "") or ""
    if message.lead_id not in await leads.load_leads(work.conn, [message.lead_id]):
        raise Problem(404, "not_found", f"no lead {message.lead_id}; for somebody who is none send `to`, an address")
    return message.lead_id
