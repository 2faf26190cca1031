"""Figures about journeys: who entered since a moment, and who converted, in the holdout and outside of it."""

from datetime import datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from services.journeys.tables import ENROLLMENTS


async def count_conversions(connection: AsyncConnection, since: datetime) -> list[dict[str, Any]]:
    """Per journey, by name; a rate is None where nobody entered."""
    columns = (ENROLLMENTS.c.journey, ENROLLMENTS.c.holdout)
    counted = select(*columns, func.count(), func.count(ENROLLMENTS.c.converted_at)).where(ENROLLMENTS.c.entered_at >= since)
    found: dict[str, dict[bool, tuple[int, int]]] = {}
    for journey, holdout, entered, converted in await connection.execute(counted.group_by(*columns)):
        found.setdefault(journey, {})[holdout] = (entered, converted)
    return [_journey(journey, groups) for journey, groups in sorted(found.items())]


def _journey(journey: str, groups: dict[bool, tuple[int, int]]) -> dict[str, Any]:
    entered, converted = groups.get(False, (0, 0))
    held, held_converted = groups.get(True, (0, 0))
    return {
        "journey": journey,
        "entered": entered,
        "converted": converted,
        "conversion": converted / entered if entered else None,
        "holdout": held,
        "holdout_converted": held_converted,
        "holdout_conversion": held_converted / held if held else None,
    }
