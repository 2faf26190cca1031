"""One timeline from several lists."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.console.timeline import BadCursor, Page, merged
from tests.builders import NOON


def an_item(name: str, seconds: int) -> dict:
    return {"id": f"{name}{seconds}", "at": (NOON + timedelta(seconds=seconds)).isoformat()}


class Lists:
    """Services' lists, newest first, in pages of `size`; each cursor names the last item of its page."""

    def __init__(self, size: int, **times: list[int]) -> None:
        self.size = size
        self.items = {name: [an_item(name, second) for second in sorted(set(seconds), reverse=True)] for name, seconds in times.items()}

    async def fetch(self, name: str, cursor: str | None) -> Page:
        items = self.items[name]
        start = 0 if cursor is None else next(place for place, item in enumerate(items) if item["id"] == cursor) + 1
        page = items[start : start + self.size]
        return Page(page, page[-1]["id"] if len(items) > start + self.size else None)

    def everything(self) -> list[str]:
        items = [item for items in self.items.values() for item in items]
        return [item["id"] for item in sorted(items, key=lambda item: (item["at"], item["id"]), reverse=True)]


async def walked(lists: Lists, limit: int) -> list[str]:
    found, cursor = await merged(lists.fetch, list(lists.items), limit)
    ids = [item["id"] for item in found]
    while cursor is not None:
        found, cursor = await merged(lists.fetch, list(lists.items), limit, cursor)
        ids += [item["id"] for item in found]
    return ids


SECONDS = st.lists(st.integers(0, 30), max_size=15)


@given(SECONDS, SECONDS, st.integers(1, 5), st.integers(1, 7))
async def test_every_item_of_every_list_comes_once_and_newest_first(events, steps, size, limit):
    lists = Lists(size, events=events, steps=steps)
    assert await walked(lists, limit) == lists.everything()


async def test_what_arrives_meanwhile_hides_nothing_older():
    lists = Lists(3, events=[1, 2, 3, 4, 5, 6], steps=[2, 4])
    found, cursor = await merged(lists.fetch, ["events", "steps"], 3)
    lists.items["events"] = [an_item("events", second) for second in range(20, 6, -1)] + lists.items["events"]
    seen = [item["id"] for item in found]
    while cursor is not None:
        found, cursor = await merged(lists.fetch, ["events", "steps"], 3, cursor)
        seen += [item["id"] for item in found]
    assert seen == ["events6", "events5", "steps4", "events4", "events3", "steps2", "events2", "events1"]


async def test_a_cursor_of_somebody_elses_making_is_refused():
    with pytest.raises(BadCursor):
        await merged(Lists(3, events=[1]).fetch, ["events"], 3, "bm90IG91cnM")
