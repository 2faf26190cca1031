"""The mails that we bring along, for playbooks that have none of their own under that name."""

from dataclasses import replace
from functools import cache
from pathlib import Path

from services.mailer.template_files import read_templates
from services.mailer.templates import FOLDER, Template

_HERE = Path(__file__).parent / "html" / "templates"
_LANGUAGE = "en"
"""That of the variants for every reader."""


def find_built_in(name: str) -> Template | None:
    """Our own template of that name, or None."""
    return _templates().get(name)


@cache
def _templates() -> dict[str, Template]:
    templates, troubles = read_templates({f"{FOLDER}{path.name}": path.read_bytes() for path in sorted(_HERE.iterdir())})
    assert not troubles, troubles
    return {name: _in_its_language(template) for name, template in templates.items()}


def _in_its_language(template: Template) -> Template:
    """The playbook's language is not ours: the mail must say which one it is written in."""
    return replace(template, variants=dict(template.variants) | {"": replace(template.variants[""], locale=_LANGUAGE)})
