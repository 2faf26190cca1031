"""Our own pages: the frame around a mail that brings none, the foot of a mail, what a reader sees in the browser."""

from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template


@cache
def layout(name: str) -> Template:
    """One page of ours by its file's name, compiled when first asked for."""
    return _environment().get_template(name)


@cache
def _environment() -> Environment:
    files = FileSystemLoader(Path(__file__).parent / "html")
    return Environment(loader=files, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
