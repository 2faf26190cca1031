"""Whether what journeys published is what the mailer received: the one count that no service can make alone.

journeys: published, per journey and step ──► compared up to one moment ◄── mailer: received, and what it set aside
Messages under way are waited for: until journeys owes the log none of what was there at the beginning, and the mailer has read that far.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import msgspec

from shared.clock import Clock

ON_ITS_WAY = timedelta(seconds=5)
"""What journeys asked for this short a while ago may still be in its open transaction."""
TRIES, PAUSE_SECONDS = 20, 0.5
"""How long messages between journeys and mailer are waited for."""
SHOWN, MOST_PAGES = 10, 200
"""Messages that are named where some never arrived, and pages of 5,000 that are gone through for them."""

Ask = Callable[..., Awaitable[Any]]
Where = tuple[str, str]
"""A journey and a step of it."""


class HandedOver:
    """Compares the two counts, with the authority of whoever asks."""

    def __init__(self, ask: Ask, act: Ask, clock: Clock, pause: Callable[[float], Awaitable[None]]) -> None:
        self._ask = ask
        self._act = act
        self._clock = clock
        self._pause = pause

    async def checks(self, caller: Mapping[str, str]) -> list[dict[str, Any]]:
        """One check a step.

        Moments go by while two services are asked, so only this is certain: what was published at first and is not there once the way is
        over was lost, and what was there at first and is not published even now came from nowhere.
        """
        cut = (self._clock.now() - ON_ITS_WAY).isoformat()
        look = first = await self._look(caller, cut)
        way = _Way(first)
        for _ in range(TRIES):
            if look.left == look.right or (way.is_over and look is not first):
                break
            await self._pause(PAUSE_SECONDS)
            look = await self._look(caller, cut)
            way.go_on(look)
        found = [_compared(where, first, look, way) for where in sorted(first.left | first.right | look.left | look.right)]
        return [check if check["ok"] else check | {"offenders": await self._missing(caller, check, cut)} for check in found]

    async def _look(self, caller: Mapping[str, str], cut: str) -> "_Look":
        published = await self._ask(caller, "journeys", "/api/audit/published", {"before": cut})
        received = await self._ask(caller, "mailer", "/api/audit/received", {"before": cut})
        left, right = _counts(published["items"]), _counts(received["items"])
        refused = _counts(published.get("refused", ())) + _counts(received.get("refused", ()))
        owed = published.get("owed") or (None, None)
        return _Look(left, right + refused, owed[0], owed[1], received.get("read", {}), received.get("ends", {}))

    async def _missing(self, caller: Mapping[str, str], check: Mapping[str, Any], cut: str) -> list[dict[str, Any]]:
        """The first messages of a step that were published and never arrived, by lead and enrollment."""
        missing: list[dict[str, Any]] = []
        here = {"journey": check["journey"], "step": check["step"], "before": cut}
        after = ""
        for _ in range(MOST_PAGES):
            page = await self._ask(caller, "journeys", "/api/audit/published/ids", here | {"after": after})
            body = msgspec.json.encode({"ids": [one["id"] for one in page["items"]]})
            unknown = set((await self._act(caller, "mailer", "POST", "/api/audit/unknown", body))["items"]) if page["items"] else set()
            missing += [{"lead": one["lead"], **_place(check), **one} for one in page["items"] if one["id"] in unknown]
            after = page["next"]
            if after is None or len(missing) >= SHOWN:
                break
        return missing[:SHOWN]


@dataclass(frozen=True, slots=True)
class _Look:
    """What both said, one after the other: the counts, the blobs of messages that the log may not have, and how far it is read."""

    left: Counter[Where]
    right: Counter[Where]
    first_owed: int | None
    last_owed: int | None
    read: Mapping[str, int]
    ends: Mapping[str, int]


class _Way:
    """The way between the two as it was at first: what was on it then is waited for, what comes later is not."""

    def __init__(self, first: _Look) -> None:
        self._last_owed = -1 if first.last_owed is None else first.last_owed
        self._ends: Mapping[str, int] | None = None
        self.is_over = False
        self.go_on(first)

    def go_on(self, look: _Look) -> None:
        if look.first_owed is not None and look.first_owed <= self._last_owed:
            return  # the log may not have all of it yet
        if self._ends is None:
            self._ends = look.ends
        self.is_over = all(look.read.get(partition, 0) >= end for partition, end in self._ends.items())


def _place(check: Mapping[str, Any]) -> dict[str, Any]:
    return {"journey": check["journey"], "step": check["step"]}


def _counts(items: Iterable[Mapping[str, Any]]) -> Counter[Where]:
    """By journey and step; what was asked for over the API no journey published."""
    counts: Counter[Where] = Counter()
    for row in items:
        if row["journey"]:
            counts[row["journey"], row["step"]] += row["count"]
    return counts


def _compared(where: Where, first: _Look, last: _Look, way: _Way) -> dict[str, Any]:
    published, received = last.left[where], last.right[where]
    if first.right[where] > published:
        return _check(where, published, first.right[where], ok=False)
    if first.left[where] > received:
        return _check(where, first.left[where], received, ok=not way.is_over)
    return _check(where, published, received, ok=True)


def _check(where: Where, published: int, received: int, *, ok: bool) -> dict[str, Any]:
    journey, step = where
    return {
        "service": "journeys → mailer",
        "name": f"{journey} · {step}: published = received",
        "promise": 3,
        "ok": ok,
        "left": published,
        "right": received,
        "detail": f"{abs(published - received)} on their way" if ok and published != received else "",
        "offenders": [],
        "journey": journey,
        "step": step,
    }
