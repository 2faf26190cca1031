"""One timeline from several lists, newest first, page by page. Pure but for `fetch`.

The services keep their lists; the cursor keeps where each was left.
"""

import asyncio
import base64
import binascii
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import msgspec

Item = dict[str, Any]
"""What a list holds: at least `id` and `at` (ISO text)."""


class Key(NamedTuple):
    """Where an item stands in the timeline."""

    at: datetime
    id: str


class Page(NamedTuple):
    """One page of one list: its items and the cursor of the next, None at the end."""

    items: Sequence[Item]
    next: str | None


class Mark(NamedTuple):
    """Where a list was left: in which of its pages, after which item."""

    cursor: str | None = None
    after: Key | None = None


Marks = dict[str, Mark]
Fetch = Callable[[str, str | None], Awaitable[Page]]
"""A page of the list of that name, from that cursor of its own."""


class BadCursor(ValueError):
    """The cursor is none that we gave."""


async def merged(fetch: Fetch, lists: Sequence[str], limit: int, cursor: str | None = None) -> tuple[list[Item], str | None]:
    """Up to `limit` items over all lists, newest first, and the cursor of what is older.

    Each list is newest first too. Nothing is skipped or told twice while new items arrive. Raises BadCursor.
    """
    marks = _decoded(cursor) if cursor else dict.fromkeys(lists, Mark())
    names = [name for name in marks if name in lists]
    rests = dict(zip(names, await asyncio.gather(*(_rest(fetch, name, marks[name]) for name in names)), strict=True))
    horizon = max((key_of(rest.items[-1]) for _, rest in rests.values() if rest.next is not None), default=None)
    offered = [(key_of(item), name, item) for name, (_, rest) in rests.items() for item in rest.items]
    offered.sort(key=lambda entry: entry[:2], reverse=True)
    taken = [entry for entry in offered if horizon is None or entry[0] >= horizon][:limit]
    left = _left(rests, {name: [key for key, owner, _ in taken if owner == name] for name in names})
    return [item for _, _, item in taken], _encoded(left) if left else None


def key_of(item: Item) -> Key:
    return Key(datetime.fromisoformat(item["at"]), item["id"])


async def _rest(fetch: Fetch, name: str, mark: Mark) -> tuple[Mark, Page]:
    """What the page at `mark` still holds, newest first; pages with nothing left are passed over."""
    while True:
        page = await fetch(name, mark.cursor)
        items = sorted((item for item in page.items if mark.after is None or key_of(item) < mark.after), key=key_of, reverse=True)
        if items or page.next is None:
            return mark, Page(items, page.next)
        mark = Mark(page.next, mark.after)


def _left(rests: Mapping[str, tuple[Mark, Page]], taken: Mapping[str, list[Key]]) -> Marks:
    left = {}
    for name, (mark, rest) in rests.items():
        keys = taken[name]
        if len(keys) < len(rest.items):
            left[name] = Mark(mark.cursor, keys[-1] if keys else mark.after)
        elif rest.next is not None:
            left[name] = Mark(rest.next)
    return left


def _encoded(marks: Marks) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(marks)).rstrip(b"=").decode()


def _decoded(cursor: str) -> Marks:
    try:
        return msgspec.json.decode(base64.urlsafe_b64decode(cursor.encode() + b"=" * (-len(cursor) % 4)), type=Marks)
    except (binascii.Error, ValueError, msgspec.DecodeError) as error:
        raise BadCursor(cursor) from error
