"""What an expression can name: `lead`, `event`, `entry`, `steps` and what they have; an unknown name is answered with the nearest known."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches

from msgspec import Struct

from shared.wire import Consent, Entry, EventHistory, Lead, Orders


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a value while loading: its parts, if they are fixed, and whether it can stand for itself."""

    kind: str = "value"  # value | open (any part may exist) | parts | events | history | steps | count
    parts: Mapping[str, "Known"] = field(default_factory=dict)
    struct: type[Struct] | None = None  # what it usually is

    @property
    def stands_alone(self) -> bool:
        """Whether it is a value, and not only the way to one."""
        return self.kind in ("value", "open", "count")


VALUE, OPEN, COUNT = Known(), Known("open"), Known("count")


def _parts(values: str, opened: str, struct: type[Struct] | None = None, **others: Known) -> Known:
    return Known("parts", dict.fromkeys(values.split(), VALUE) | dict.fromkeys(opened.split(), OPEN) | others, struct)


HISTORY = replace(_parts("first_at last_at", "last", EventHistory, count=COUNT), kind="history")
_LEAD = _parts(
    "id email user_id readiness points hot sleeping timezone locale created_at last_seen_at",
    "traits tags company",
    Lead,
    consent=_parts("marketing", "topics", Consent),
    events=Known("events"),
    orders=_parts("last_at", "", Orders, count=COUNT, total=COUNT),
)
STEP = replace(_parts("at", "event response"), kind="open")
_ROOTS = {
    "lead": _LEAD,
    "event": _parts("name at", "properties context"),
    "entry": _parts("event at", "properties context", Entry),
    "steps": Known("steps"),
    "key": VALUE,
    "entered_at": VALUE,
    "now": VALUE,
}
_FOREIGN = {"null": "none", "None": "none", "nil": "none", "undefined": "none", "yes": "true", "no": "false"}


def roots(names: frozenset[str]) -> Mapping[str, Known]:
    """What the top-level names are; `lead.traits` among them gives `lead` with this part alone. Others may have any part."""
    found: dict[str, Known] = {}
    for name in sorted(names):
        root, _, part = name.partition(".")
        whole = _ROOTS.get(root, OPEN)
        if part:
            had = found[root].parts if root in found else {}
            found[root] = found[root] if root in names else replace(whole, parts={**had, part: whole.parts[part]})
        else:
            found[root] = whole
    return found


def below(known: Known, name: str) -> Known | None:
    """What a part of a known value is; None if it has no such part."""
    if known.kind == "events":
        return HISTORY
    if known.kind == "steps":
        return STEP
    return known.parts.get(name) or (OPEN if known is OPEN else None)


def unknown_name(name: str, known: Mapping[str, Known]) -> str:
    """What to say of a top-level name that does not exist."""
    if name in _FOREIGN:
        return f"`{name}` is not known here: write `{_FOREIGN[name]}`, or '{name}' in quotes if it is text"
    homes = [f"{root}.{name}" for root, below_root in known.items() if name in below_root.parts]
    near = homes or get_close_matches(name, known, n=1)
    remedy = f", did you mean `{near[0]}`?" if near else f"; here one can name {_listed(known)}; text needs quotes: '{name}'"
    return f"unknown name `{name}`{remedy}"


def unknown_part(owner: str, name: str, known: Known) -> str:
    """What to say of a part that something known does not have."""
    if not known.parts:
        return f"`{owner}` is a plain value, it has no `{name}`"
    homes = [f"{owner}.{part}.{name}" for part, has in known.parts.items() if name in has.parts]
    near = homes or [f"{owner}.{part}" for part in get_close_matches(name, known.parts, n=1, cutoff=0.7)]
    if near:
        return f"`{owner}` has no `{name}` here, did you mean `{near[0]}`?"
    own = [f"`{owner}.{part}.{name}` or " for part in ("traits", "properties") if part in known.parts]
    return f"`{owner}` has no `{name}` here: write {''.join(own)}one of {_listed(known.parts)}"


def not_a_value(text: str, known: Known) -> str:
    """What to say where something that only leads to values stands for one."""
    if known.kind == "events":
        return f"name the event: `{text}['Ebook Downloaded'].count`"
    if known.kind == "steps":
        return f"name the step: `{text}.ID`"
    if known.kind == "history":
        return f"say what of it: `{text}.count > 0`, or {_listed(part for part in known.parts if part != 'count')}"
    return f"say what of `{text}`: it has {_listed(known.parts)}"


def _listed(names: Mapping[str, Known] | Iterator[str]) -> str:
    return ", ".join(f"`{name}`" for name in sorted(names))
