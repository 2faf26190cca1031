"""How every command ends: 0 done, 1 the answer is no, 2 wrong use; errors on stderr, one JSON document on stdout if asked for."""

import json
import sys
import tomllib
from datetime import UTC, datetime
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text
from typer.core import TyperGroup
from typer.exceptions import Abort, TyperException

from shared.errors import ConfigurationError, Outage

NO, WRONG_USE, INTERRUPTED = 1, 2, 130

ENDLESS = 1_000  # columns
ONE_LINE = frozenset({"id", "at", "queued", "made", "revoked", "service", "status", "attempts"})
"""Columns whose content is never broken over lines."""

CONTROL = dict.fromkeys([*range(0x20), *range(0x7F, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A)], "\N{REPLACEMENT CHARACTER}")
"""What could steer a terminal or turn its text around; a lead's traits are a stranger's words."""


class Format(StrEnum):
    """For people, or for programs."""

    text = "text"
    json = "json"


FormatOption = Annotated[Format, typer.Option("--format", help="For people, or one JSON document for programs.")]


class Failure(Exception):
    """The command cannot go on: the text says why and names the remedy."""

    def __init__(self, message: str, code: int = NO) -> None:
        super().__init__(message)
        self.code = code


class Commands(TyperGroup):
    """A group of commands whose every error is one `error: …` line and an exit code."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Without a command, say which there are."""
        if not args and not ctx.resilient_parsing:
            print(ctx.get_help(), file=sys.stderr)
            ctx.exit(WRONG_USE)
        return super().parse_args(ctx, args)

    def main(self, *args: Any, **options: Any) -> NoReturn:
        """Run the command line and end the process."""
        sys.exit(self._ended(*args, **options | {"standalone_mode": False}))

    def _ended(self, *args: Any, **options: Any) -> int:
        try:
            code = super().main(*args, **options)
        except (Failure, TyperException, ConfigurationError, Outage) as error:
            return _complain(error)
        except Abort:
            return INTERRUPTED
        return code if isinstance(code, int) else 0


def _complain(error: Exception) -> int:
    match error:
        case TyperException():
            message, code = error.format_message(), error.exit_code
        case Failure():
            message, code = str(error), error.code
        case _:
            message, code = str(error), WRONG_USE if isinstance(error, ConfigurationError) else NO
    print(f"error: {message}", file=sys.stderr)
    return code


def say_version(wanted: bool) -> None:
    """Print the version of what is installed, and end."""
    if wanted:
        print(f"dripline {_version()}")
        raise typer.Exit


def _version() -> str:
    """Of what is installed; in a checkout that is not, as pyproject.toml says."""
    try:
        return version("dripline")
    except PackageNotFoundError:
        project: str = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]["version"]
        return project


def confirmed(question: str) -> bool:
    """Whether a person at the terminal says yes. Raises Failure where nobody sits there."""
    if not sys.stdin.isatty():
        raise Failure(f"{question} Nobody is here to say so: give --yes", WRONG_USE)
    return typer.confirm(question, err=True)


def put_json(document: Any) -> None:
    """The one JSON document of a `--format json`."""
    print(json.dumps(document, ensure_ascii=False, indent=2))


def screen(*, stderr: bool = False) -> Console:
    """Where text for people goes; made when it is needed, so that it follows a redirected stdout. Only a terminal has an edge."""
    out = Console(highlight=False, markup=False, stderr=stderr)
    return out if out.is_terminal else Console(highlight=False, markup=False, stderr=stderr, width=ENDLESS)


def safe(value: object, style: str = "") -> Text:
    """A stranger's words, harmless to a terminal."""
    return Text(str(value).translate(CONTROL), style)


def table(*headings: str) -> Table:
    """A plain table: headings, space, no frame."""
    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for heading in headings:
        made.add_column(heading, overflow="fold", no_wrap=heading in ONE_LINE)
    return made


def put_rows(rows: Table) -> None:
    """Show a table; where the terminal is too narrow for its columns, each row as lines of its own."""
    out = screen()
    if out.measure(rows).maximum <= out.width:
        out.print(rows)
        return
    for cells in zip(*(column.cells for column in rows.columns), strict=True):
        stacked = Table.grid(padding=(0, 2))
        for column, cell in zip(rows.columns, cells, strict=True):
            if str(cell):
                stacked.add_row(Text(str(column.header), "dim"), cell)
        out.print(stacked)
        out.print()


def short(at: str | None) -> str:
    """An instant of the API, to the minute; `Z` says that it is UTC (ISO 8601)."""
    return f"{datetime.fromisoformat(at).astimezone(UTC):%Y-%m-%d %H:%MZ}" if at else ""
