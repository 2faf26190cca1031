"""`dripline check`: every service's reading of a playbook, and the names that one part uses and another must know."""

import difflib
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import TypeVar

from dripline.environment import is_own_inbox
from services.journeys import loader as journeys
from services.journeys.loader import Journeys
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
    settings = _settings(book)
    walks, wrong = journeys.survey(book.files, environ)
    troubles = [*_misplaced(book), *wrong]
    worth = _read(troubles, lambda: scoring.load(book.files, environ))
    paper = _read(troubles, lambda: mailer.load(book.files, environ, book.version))
    troubles += _strangers(walks.templates, _mails(book), "template", "add it as templates/{}.html")
    if worth is not None and not wrong:
        troubles += walks.round_trips(lambda update: any(_asks_for(fit.when.source, update) for fit in worth.rules.fit))
    if settings is not None:
        troubles += [*_unknown_keys(settings), *_missing(settings, walks)]
    if paper is not None:
        troubles += _out_of_reach(book, paper.endpoints.values(), environ)
    return sorted(set(troubles), key=lambda trouble: (trouble.file, trouble.line, trouble.column, trouble.message))


def _settings(book: Playbook) -> Document | None:
    """playbook.yaml as it is written; None where it is no map of keys, which the services' loaders say."""
    try:
        document: Document = read(book.files["playbook.yaml"], "playbook.yaml")
    except (KeyError, PlaybookError):
        return None
    return document if isinstance(document.value, dict) else None


def _missing(settings: Document, walks: Journeys) -> Iterator[Trouble]:
    """What journeys mention and playbook.yaml does not hold, by its keys: an entry with a mistake is there all the same."""
    for key, kind, mentions in (("endpoints", "endpoint", walks.endpoints), ("topics", "topic", walks.topics)):
        written = settings.value.get(key)
        known = {name for name in written if isinstance(name, str)} if isinstance(written, dict) else set()
        if written is None or isinstance(written, dict):
            yield from _strangers(mentions, known, kind, f"add it to `{key}` in playbook.yaml")
    if settings.value.get("working_hours") is None:
        for mention in walks.working:
            yield mention.trouble("`hours: working` counts `working_hours`: write them into playbook.yaml")


def _read(troubles: list[Trouble], load: Callable[[], T]) -> T | None:
    try:
        return load()
    except PlaybookError as error:
        troubles += error.troubles
        return None


def _unknown_keys(settings: Document) -> Iterator[Trouble]:
    for key in settings.value:
        if key not in KNOWN_KEYS:
            yield settings.trouble((key,), f"unknown key `{key}`{_meant(key, KNOWN_KEYS)}", of_key=True)


def _misplaced(book: Playbook) -> Iterator[Trouble]:
    for file in book.files:
        if "/" not in file and file.endswith((".yaml", ".yml")) and file not in TOP:
            yield Trouble(file, 1, 1, f"nothing reads this file{_advice(file, TOP, 'journeys lie in journeys/')}")
        elif "/" in file and not file.startswith(ROOMS):
            advice = _advice(file.split("/")[0] + "/", ROOMS, f"a playbook has {', '.join(ROOMS)}")
            yield Trouble(file, 1, 1, f"nothing reads this folder{advice}")


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
            yield mention.trouble(f"there is no {kind} `{mention.name}`{_advice(mention.name, known, remedy.format(mention.name))}")


def _out_of_reach(book: Playbook, endpoints: Iterable[Endpoint], environ: Mapping[str, str]) -> Iterator[Trouble]:
    """Endpoints to which nothing would be posted; the inbox that `run` brings along is reached all the same."""
    if environ.get("DRIPLINE_ALLOW_PRIVATE_WEBHOOKS", "").strip().lower() in ("1", "true", "t", "yes", "y", "on"):
        return
    for endpoint in endpoints:
        why = why_refused(endpoint.url)
        if why and not is_own_inbox(endpoint.url):
            remedy = "write https://…, or set DRIPLINE_ALLOW_PRIVATE_WEBHOOKS=1 where endpoints stand in your own network"
            yield read(book.files["playbook.yaml"], "playbook.yaml").trouble(("endpoints", endpoint.name, "url"), f"{why}: {remedy}")


def _advice(name: str, known: Iterable[str], remedy: str) -> str:
    """What was meant, if that can be guessed, and what else helps."""
    meant = _meant(name, known)
    return f"{meant} If not, {remedy}" if meant else f"; {remedy}"


def _meant(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f", did you mean `{close[0]}`?" if close else ""
