"""What is noted while a journey file is read: its troubles, what it mentions of other parts, and every expression in it.

reader.py and step_reader.py write into one `Notes`; loader.py and `dripline check` read it.
"""

from typing import Any, NamedTuple, TypeVar

from services.journeys.forms import EventForm
from services.journeys.steps import EventMatch
from shared.expressions import Expression, ExpressionError, compile_expression
from shared.yaml import Document, Path, Trouble

AT_THE_DOOR = frozenset({"lead", "event", "now"})
"""What a trigger's `where` and `key` can name."""
INSIDE = frozenset({"lead", "entry", "key", "entered_at", "steps", "now"})
"""What conditions and values within a walk can name."""
AT_AN_EVENT = INSIDE | {"event"}
"""What `where` and `match_key` of an exit, a goal or a wait for an event can name."""

T = TypeVar("T")


class Mention(NamedTuple):
    """A name that another part of the playbook must know, and where it stands."""

    name: str
    file: str
    line: int
    column: int

    def trouble(self, message: str) -> Trouble:
        return Trouble(self.file, self.line, self.column, message)


class Notes:
    """Of one file. Nothing here raises: what is wrong becomes a trouble, so that all are told at once."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.troubles: list[Trouble] = []
        self.templates: list[Mention] = []
        self.endpoints: list[Mention] = []
        self.topics: list[Mention] = []
        self.events: list[Mention] = []
        self.working: list[Mention] = []
        self.histories: set[str] = set()
        self.used: list[tuple[Expression, Path]] = []

    def trouble(self, path: Path, message: str, offset: int = 0, *, of_key: bool = False) -> None:
        self.troubles.append(self.document.trouble(path, message, offset, of_key=of_key))

    def mention(self, name: str, path: Path) -> Mention:
        return Mention(name, self.document.file, *self.document.mark(path))

    def names(self, names: str | list[str], path: Path) -> frozenset[str]:
        """The names of events, one or a list of them."""
        listed = each(names, path)
        self.events += [self.mention(name, place) for name, place in listed]
        return frozenset(name for name, _ in listed)

    def expression(self, source: str | None, path: Path, names: frozenset[str], skipped: int = 0) -> Expression | None:
        """Compile what stands at a path, `skipped` characters after its beginning; None where nothing stands there, or it is wrong."""
        if source is None:
            return None
        try:
            expression = compile_expression(source[skipped:], names)
        except ExpressionError as error:
            self.trouble(path, error.message, error.offset + skipped)
            return None
        self.histories |= expression.event_names
        self.used.append((expression, path))
        return expression

    def value(self, written: Any, path: Path) -> Any:
        """A value: literal, but what begins with `=` is an expression, at any depth."""
        match written:
            case str() if written.startswith("="):
                return self.expression(written, path, INSIDE, skipped=1) or ""
            case dict():
                return {name: self.value(part, (*path, name)) for name, part in written.items()}
            case list():
                return [self.value(part, (*path, index)) for index, part in enumerate(written)]
            case _:
                return written

    def match(self, form: EventForm, path: Path) -> EventMatch:
        """An event that is meant."""
        return EventMatch(
            self.names(form.event, (*path, "event")),
            self.expression(form.where, (*path, "where"), AT_AN_EVENT),
            self.expression(form.match_key, (*path, "match_key"), AT_AN_EVENT),
        )


def each(found: T | list[T], path: Path) -> list[tuple[T, Path]]:
    """One thing, or a list of them, each with its path."""
    return [(one, (*path, index)) for index, one in enumerate(found)] if isinstance(found, list) else [(found, path)]
