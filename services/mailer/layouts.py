"""Our own pages: the frame around a mail that brings none, the foot of a mail, what a reader sees in the browser."""

from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup


@cache
def layout(name: str) -> Template:
    """One page of ours by its file's name, compiled when first asked for."""
    return _environment().get_template(name)


def say(words: str, **values: str) -> Markup:
    """A sentence of ours with names in it, each kept from turning the direction of the line (Unicode's UAX 9, isolates)."""
    return Markup(words).format(**{name: Markup("<bdi>{}</bdi>").format(value) for name, value in values.items()})


def say_plainly(words: str, **values: str) -> str:
    """The same where no tags can stand: the text part of a mail, the title of a page."""
    return words.format(**{name: f"\u2068{value}\u2069" for name, value in values.items()})


@cache
def _environment() -> Environment:
    files = FileSystemLoader(Path(__file__).parent / "html")
    environment = Environment(loader=files, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["say"] = say
    return environment
