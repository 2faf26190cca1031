"""`dripline check`: every service's reading of a playbook, and the names that one part uses and another must know."""

import difflib
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import TypeVar

from dripline.environment import is_own_inbox
from services.journeys import loader as journeys
from services.journeys.notes import Mention
from services.journeys.steps import UpdateStep
from services.mailer import loader as mailer
from services.mailer.loader import Endpoint
from services.mailer.networks import why_refused
from services.scoring import loader as scoring
from shared.playbooks import Playbook
from shared.yaml import Document, PlaybookError, Trouble, read

KNOWN_KEYS = scoring.PLAYBOOK_KEYS | journeys.PLAYBOOK_KEYS | mailer.PLAYBOOK_KEYS
TEMPLATES = "templates/"
ROOMS = ("journeys/", TEMPLATES, "tests/")
TOP = ("playbook.yaml", "readiness.yaml")
T = TypeVar("T")


def check(book: Playbook, environ: Mapping[str, str]) -> list[Trouble]:
    """Everything that is wrong with a playbook, by file and place; an empty list means that it may be published."""
    troubles = [*_misplaced(book), *_unknown_keys(book)]
    worth = _read(troubles, lambda: scoring.load(book.files, environ))
    walks = _read(troubles, lambda: journeys.load(book.files, environ))
    paper = _read(troubles, lambda: mailer.load(book.files, environ, book.version))
    if walks is not None:
        troubles += _strangers(walks.templates, _mails(book), "template", "add it as templates/{}.html")
    if walks is not None and worth is not None:
        troubles += walks.round_trips(lambda update: any(_asks_for(fit.when.source, update) for fit in worth.rules.fit))
    if walks is not None and paper is not None:
        troubles += _strangers(walks.endpoints, paper.endpoints, "endpoint", "add it to `endpoints` in playbook.yaml")
        if paper.working_hours is None:
            message = "`hours: working` counts `working_hours`: write them into playbook.yaml"
            troubles += [mention.trouble(message) for mention in walks.working]
        troubles += _strangers(walks.topics, paper.topics, "topic", "add it to `topics` in playbook.yaml")
    if paper is not None:
        troubles += _out_of_reach(book, paper.endpoints.values(), environ)
    return sorted(set(troubles), key=lambda trouble: (trouble.file, trouble.line, trouble.column, trouble.message))


def _read(troubles: list[Trouble], load: Callable[[], T]) -> T | None:
    try:
        return load()
    except PlaybookError as error:
        troubles += error.troubles
        return None


def _unknown_keys(book: Playbook) -> Iterator[Trouble]:
    try:
        document: Document = read(book.files["playbook.yaml"], "playbook.yaml")
    except (KeyError, PlaybookError):
        return  # the services' loaders say so
    if not isinstance(document.value, dict):
        return
    for key in document.value:
        if key not in KNOWN_KEYS:
            yield document.trouble((key,), f"unknown key `{key}`{_meant(key, KNOWN_KEYS)}", of_key=True)


def _misplaced(book: Playbook) -> Iterator[Trouble]:
    for file in book.files:
        if "/" not in file and file.endswith((".yaml", ".yml")) and file not in TOP:
            yield Trouble(file, 1, 1, f"nothing reads this file{_meant(file, TOP)}; journeys lie in journeys/")
        elif "/" in file and not file.startswith(ROOMS):
            yield Trouble(
                file, 1, 1, f"nothing reads this folder{_meant(file.split('/')[0] + '/', ROOMS)}; a playbook has {', '.join(ROOMS)}"
            )


def _mails(book: Playbook) -> set[str]:
    """The templates by their files: one with a mistake is there all the same."""
    return {file.removeprefix(TEMPLATES).partition(".")[0] for file in book.files if file.startswith(TEMPLATES)}


def _asks_for(fit: str, update: UpdateStep) -> bool:
    """Whether a line of `fit` speaks of what an update says."""
    names = {*update.traits, *(["tags"] if update.add or update.remove else [])}
    return not names.isdisjoint(re.findall(r"\w+", fit))


def _strangers(mentions: Iterable[Mention], known: Collection[str], kind: str, remedy: str) -> Iterator[Trouble]:
    for mention in mentions:
        if mention.name not in known:
            yield mention.trouble(f"there is no {kind} `{mention.name}`{_meant(mention.name, known)}; {remedy.format(mention.name)}")


def _out_of_reach(book: Playbook, endpoints: Iterable[Endpoint], environ: Mapping[str, str]) -> Iterator[Trouble]:
    """Endpoints to which nothing would be posted; the inbox that `run` brings along is reached all the same."""
    if environ.get("DRIPLINE_ALLOW_PRIVATE_WEBHOOKS", "").strip().lower() in ("1", "true", "t", "yes", "y", "on"):
        return
    for endpoint in endpoints:
        why = why_refused(endpoint.url)
        if why and not is_own_inbox(endpoint.url):
            remedy = "write https://…, or set DRIPLINE_ALLOW_PRIVATE_WEBHOOKS=1 where endpoints stand in your own network"
            yield read(book.files["playbook.yaml"], "playbook.yaml").trouble(("endpoints", endpoint.name, "url"), f"{why}: {remedy}")


def _meant(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f", did you mean `{close[0]}`?" if close else ""
