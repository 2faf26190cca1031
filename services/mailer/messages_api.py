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
            delivery_id = str(uuid.uuid4())
            stands = await _claim(work, key, digest, delivery_id) if key else delivery_id
            if stands == delivery_id:
                await _receive(work, message, await _playbook(editions), delivery_id)
        wake()
        return {"id": stands, "kind": "email", "template": message.template}

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


async def _claim(work: Work, key: str, digest: bytes, delivery_id: str) -> str:
    """The delivery that the key stands for: this one, or that of an earlier request. Problem where that was another one.

    Of two requests at once the second waits here for the first, and then finds it.
    """
    await insert_new(work.conn, REQUESTS, [{"key": key, "digest": digest, "delivery_id": delivery_id, "at": work.now}], "key")
    found = (await work.conn.execute(select(REQUESTS.c.digest, REQUESTS.c.delivery_id).where(REQUESTS.c.key == key))).one()
    if found.digest != digest:
        raise Problem(409, "key_reused", "this Idempotency-Key came with another request before: take a new key for a new message")
    stands: str = found.delivery_id
    return stands


async def _playbook(editions: Editions) -> MailerPlaybook:
    try:
        return await editions.newest()
    except ConfigurationError as error:
        raise Problem(409, "no_playbook", f"there is no playbook in force: {error}") from error


async def _receive(work: Work, message: NewMessage, playbook: MailerPlaybook, delivery_id: str) -> None:
    if message.template not in playbook.templates:
        meant = suggestion(message.template, playbook.templates) or f"; there are {named(playbook.templates)}"
        raise Problem(400, "unknown_template", f"there is no template `{message.template}` in the playbook in force{meant}")
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


async def _reader(work: Work, message: NewMessage) -> str:
    """The lead it is for; empty where nobody is known by that address."""
    if message.lead_id is None:
        return await leads.find_by_address(work.conn, message.to or "") or ""
    if message.lead_id not in await leads.load_leads(work.conn, [message.lead_id]):
        raise Problem(404, "not_found", f"no lead {message.lead_id}; for somebody who is none send `to`, an address")
    return message.lead_id
