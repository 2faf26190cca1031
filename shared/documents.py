"""A YAML document once read: plain values, and where in the file each of them stands, so every error can point at its place.

bytes ──shared/yaml.py──► Document ──shape──► a service's definitions
"""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from shared.errors import ConfigurationError

Path = tuple[str | int, ...]
_VARIABLE = re.compile(r"\$\{([^{}]*)\}")


class Mark(NamedTuple):
    """A place in a file, both counted from 1."""

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Trouble:
    """One thing that is wrong in a file, with the remedy."""

    file: str
    line: int
    column: int
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}: {self.message}"


class PlaybookError(ConfigurationError):
    """Everything found wrong, in the order it was found; its text is one trouble a line."""

    def __init__(self, troubles: Iterable[Trouble], document: "Document | None" = None) -> None:
        """`document`: as far as it could be filled in, for who wants to judge the rest."""
        self.troubles = tuple(troubles)
        self.document = document
        super().__init__("\n".join(map(str, self.troubles)))


@dataclass(frozen=True, slots=True, eq=False)
class Document:
    """Plain data (`value`) and the marks of its nodes. A path is keys and indexes from the top: `("steps", 2, "send")`."""

    file: str
    value: Any
    values: Mapping[Path, Mark]
    keys: Mapping[Path, Mark]
    texts: Mapping[Path, Mark]  # where the text itself begins, for scalars that stand in the file letter for letter
    written: Any = None  # the value before `${NAME}` was replaced: what messages may quote

    def at(self, path: Path) -> Any:
        """The value at a path; KeyError, IndexError or TypeError where there is none."""
        return _at(self.value, path)

    def as_written(self, path: Path) -> Any:
        """The value at a path as the file has it, before `${NAME}` was replaced: messages never show a secret."""
        return _at(self.written, path)

    def mark(self, path: Path, *, of_key: bool = False) -> Mark:
        """Where the value at a path (or its key) begins; for a path that is not there, its nearest parent."""
        if of_key and path in self.keys:
            return self.keys[path]
        while path not in self.values:
            path = path[:-1]
        return self.values[path]

    def trouble(self, path: Path, message: str, offset: int = 0, *, of_key: bool = False) -> Trouble:
        """A trouble at a path; `offset` counts characters into its text, as an ExpressionError does."""
        mark = self.mark(path, of_key=of_key)
        if offset and path in self.texts:
            mark = Mark(self.texts[path].line, self.texts[path].column + offset)
        return Trouble(self.file, mark.line, mark.column, message)

    def with_environment(self, environ: Mapping[str, str], keys: Collection[str] | None = None) -> "Document":
        """The document with `${NAME}` replaced, everywhere or below the given top-level keys only; a missing one is a PlaybookError."""
        troubles: list[Trouble] = []

        def replaced(value: Any, path: Path) -> Any:
            if isinstance(value, dict):
                return {key: replaced(item, (*path, key)) for key, item in value.items() if path or keys is None or key in keys}
            if isinstance(value, list):
                return [replaced(item, (*path, index)) for index, item in enumerate(value)]
            return _VARIABLE.sub(lambda found: of(found[1], path), value) if isinstance(value, str) else value

        def of(name: str, path: Path) -> str:
            if name not in environ:
                troubles.append(self.trouble(path, f"`${{{name}}}` is not set: set {name} in the environment or in .env"))
            return environ.get(name, f"${{{name}}}")

        value = replaced(self.value, ())
        if isinstance(value, dict):
            value = self.value | value
        filled = replace(self, value=value)
        if troubles:
            raise PlaybookError(troubles, filled)
        return filled


def _at(value: Any, path: Path) -> Any:
    for part in path:
        value = value[part]
    return value
