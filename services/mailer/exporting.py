"""What the mailer holds about a person: every delivery with what it was made from, hand-offs, and what is known of the addresses."""

from collections.abc import Set
from typing import Any

import msgspec
from fastapi import APIRouter
from sqlalchemy import ColumnElement, Table, select
from sqlalchemy.ext.asyncio import AsyncConnection

from services.mailer.erasing import OF_AN_ADDRESS, addresses_of, to_strangers
from services.mailer.leads import resolve
from services.mailer.policy import address_key
from services.mailer.tables import DELIVERIES, HANDOFFS
from shared.db import among
from shared.http import allow
from shared.service import Ports

D = DELIVERIES.c
BYTES = ("message", "targets", "body")
Rows = list[dict[str, Any]]


def export_routes(ports: Ports) -> APIRouter:
    """The part of the mailer; admins only."""
    router = APIRouter(prefix="/api/exports", include_in_schema=False, dependencies=[allow()])

    @router.get("/{lead_id}")
    async def export(lead_id: str) -> dict[str, Rows]:
        async with ports.database.reading() as connection:
            lead = (await resolve(connection, [lead_id]))[lead_id]
            addresses = await addresses_of(connection, [lead])
            theirs = (D.lead_id == lead) | among(D.id, await to_strangers(connection, addresses))
            found = {"deliveries": await _deliveries(connection, theirs), "handoffs": await _of_lead(connection, HANDOFFS, lead)}
            return found | await _of_addresses(connection, addresses)

    return router


def address_routes(ports: Ports) -> APIRouter:
    """What is held for an address and belongs to no lead: messages asked for over the API, and what is known of the address."""
    router = APIRouter(prefix="/api/addresses", include_in_schema=False, dependencies=[allow()])

    @router.get("/{address}/export")
    async def export(address: str) -> dict[str, Rows]:
        addresses = {address_key(address)}
        async with ports.database.reading() as connection:
            deliveries = await _deliveries(connection, among(D.id, await to_strangers(connection, addresses)))
            return {"deliveries": deliveries} | await _of_addresses(connection, addresses)

    return router


async def _of_addresses(connection: AsyncConnection, addresses: Set[str]) -> dict[str, Rows]:
    found = {}
    for what, table in OF_AN_ADDRESS.items():
        rows = await connection.execute(select(table).where(among(table.c.address, addresses)))
        found[what] = [dict(row) for row in rows.mappings()]
    return found


async def _deliveries(connection: AsyncConnection, theirs: ColumnElement[bool]) -> Rows:
    """The newest first. A mail's words are its template's, filled from what stands in `message`; a webhook's stand in `body`."""
    rows = await connection.execute(select(DELIVERIES).where(theirs).order_by(D.queued_at.desc()))
    return [{**row, **{name: _readable(row[name]) for name in BYTES}} for row in map(dict, rows.mappings())]


def _readable(content: bytes | None) -> Any:
    return None if content is None else msgspec.json.decode(content)


async def _of_lead(connection: AsyncConnection, table: Table, lead_id: str) -> Rows:
    return [dict(row) for row in (await connection.execute(select(table).where(table.c.lead_id == lead_id))).mappings()]
