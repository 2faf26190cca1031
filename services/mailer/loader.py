"""The mailer's part of a playbook: who writes, where hand-offs go, what the mails say.

playbook.yaml, templates/* ──load──► MailerPlaybook, one for each published version
"""

import base64
import binascii
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import time
from urllib.parse import urlsplit

from services.mailer.caps import Cap
from services.mailer.forms import BrandForm, ConsentForm, EndpointForm, MailForm, PlaybookForm, QuietHoursForm, RateForm, WhenInDoubt
from services.mailer.lanes import RELAY, domain_lane
from services.mailer.mime import Address, ascii_domain, parse_address
from services.mailer.opt_in import OptIn
from services.mailer.policy import Policy
from services.mailer.quiet import QuietHours
from services.mailer.sla import WorkingHours
from services.mailer.template_files import read_templates
from services.mailer.templates import Template
from services.mailer.working_hours import DAYS, END_OF_DAY, WorkingHoursForm, hours_of
from shared.documents import Document, Path, PlaybookError, Trouble
from shared.local_time import find_zone
from shared.wire import OURS
from shared.yaml import read, shape

FILE = "playbook.yaml"
PLAYBOOK_KEYS = frozenset({"name", "brand", "mail", "topics", "endpoints", "working_hours", "consent"})


@dataclass(frozen=True, slots=True)
class MailSettings:
    """How this sender mails. `in_doubt_*` says what becomes of a mail that may or may not have been accepted."""

    from_: Address
    reply_to: Address | None
    timezone: str
    locale: str
    in_doubt_marketing: WhenInDoubt
    in_doubt_transactional: WhenInDoubt


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Somebody who is told things by webhook; while a secret is being changed, both sign."""

    name: str
    url: str
    secrets: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class MailerPlaybook:
    """Everything the mailer needs of one version of a playbook. `brand` has name, url, address and logo; only the name is sure."""

    version: str
    brand: Mapping[str, str | None]
    mail: MailSettings
    endpoints: Mapping[str, Endpoint]
    topics: Mapping[str, str]
    templates: Mapping[str, Template]
    policy: Policy
    opt_in: OptIn
    working_hours: WorkingHours | None = None


def load(files: Mapping[str, bytes], environ: Mapping[str, str], version: str) -> MailerPlaybook:
    """Read the mailer's part; PlaybookError has every trouble of playbook.yaml's keys and of all templates."""
    templates, troubles = read_templates(files)
    try:
        part = _read_part(files, environ)
    except PlaybookError as error:
        raise PlaybookError((*error.troubles, *troubles)) from error
    if troubles:
        raise PlaybookError(troubles)
    mail = _settings(part.mail)
    return MailerPlaybook(
        version=version,
        brand=part.brand.model_dump() | {"name": part.brand.name or part.name or mail.from_.name or mail.from_.domain},
        mail=mail,
        endpoints={name: Endpoint(name, endpoint.url, _secrets(endpoint)) for name, endpoint in part.endpoints.items()},
        topics=part.topics,
        templates=templates,
        working_hours=hours_of(part.working_hours, mail.timezone),
        policy=_policy(part.mail),
        opt_in=_opt_in(part.consent),
    )


def _settings(mail: MailForm) -> MailSettings:
    reply_to = parse_address(mail.reply_to) if mail.reply_to else None
    doubt = mail.in_doubt
    return MailSettings(parse_address(mail.sender), reply_to, mail.timezone, mail.locale, doubt.marketing, doubt.transactional)


def _policy(mail: MailForm) -> Policy:
    caps = tuple(Cap(cap.messages, cap.per, cap.on_hit == "skip") for cap in mail.frequency_cap)
    warming = parse_address(mail.sender).domain.casefold() if mail.warm_up else None
    return Policy(_quiet_hours(mail.quiet_hours), caps, mail.timezone, warming, _rates(mail.rate))


def _rates(rate: RateForm | None) -> dict[str, float]:
    if rate is None:
        return {}
    in_all = {} if rate.per_second is None else {RELAY: rate.per_second}
    return in_all | {domain_lane(ascii_domain(domain)): per_second for domain, per_second in rate.per_domain.items()}


def _quiet_hours(quiet: QuietHoursForm | None) -> QuietHours | None:
    if quiet is None:
        return None
    start, end = (_clock_time(written) for written in (quiet.start, quiet.end))
    return QuietHours(start, end, frozenset(map(DAYS.index, quiet.days)), quiet.on_hit == "skip")


def _clock_time(written: str | None) -> time | None:
    return time(0) if written == END_OF_DAY else time.fromisoformat(written) if written else None


def _opt_in(consent: ConsentForm) -> OptIn:
    """Where a browser's word for it is enough, nobody is asked."""
    asked = frozenset(consent.events) if consent.from_browser == "double_opt_in" else frozenset()
    return OptIn(asked, consent.confirmations.per_address, consent.confirmations.per_hour)


def _read_part(files: Mapping[str, bytes], environ: Mapping[str, str]) -> PlaybookForm:
    if FILE not in files:
        raise PlaybookError([Trouble(FILE, 1, 1, "there is no playbook.yaml in this folder")])
    document = read(files[FILE], FILE)
    troubles: list[Trouble] = []
    try:
        document = document.with_environment(environ, PLAYBOOK_KEYS)
    except PlaybookError as error:
        troubles.extend(error.troubles)
        document = error.document or document
    try:
        part = shape(document, PlaybookForm)
    except PlaybookError as error:
        raise PlaybookError((*troubles, *error.troubles)) from error
    places = {(trouble.line, trouble.column) for trouble in troubles}  # what a missing variable would have filled is not judged
    troubles += [trouble for trouble in _judged(document, part) if (trouble.line, trouble.column) not in places]
    if troubles:
        raise PlaybookError(troubles)
    return part


def _judged(document: Document, part: PlaybookForm) -> Iterator[Trouble]:
    yield from _brand_troubles(document, part.brand)
    yield from _mail_troubles(document, part.mail)
    yield from _quiet_troubles(document, part.mail.quiet_hours)
    yield from _consent_troubles(document, part.consent)
    yield from _endpoint_troubles(document, part.endpoints)
    yield from _hours_troubles(document, part.working_hours)


def _brand_troubles(document: Document, brand: BrandForm) -> Iterator[Trouble]:
    for key, url in (("url", brand.url), ("logo", brand.logo)):
        if url is not None and (message := _url_trouble(url)):
            yield document.trouble(("brand", key), message)


def _mail_troubles(document: Document, mail: MailForm) -> Iterator[Trouble]:
    for key, written in (("from", mail.sender), ("reply_to", mail.reply_to)):
        try:
            parse_address(written) if written is not None else None
        except ValueError as error:
            yield document.trouble(("mail", key), str(error))
    if mail.rate is not None:
        yield from _rate_troubles(document, mail.rate)
    if find_zone(mail.timezone) is None:
        yield document.trouble(("mail", "timezone"), _no_zone(mail.timezone))


def _rate_troubles(document: Document, rate: RateForm) -> Iterator[Trouble]:
    place: Path = ("mail", "rate")
    if rate.per_second is None and not rate.per_domain:
        yield document.trouble(place, "this limits nothing: write `per_second`, `per_domain`, or leave `rate` out")
    for domain in rate.per_domain:
        try:
            ascii_domain(domain)
        except ValueError as error:
            yield document.trouble((*place, "per_domain", domain), f"{error}: write it as in `gmail.com: 5`", of_key=True)


def _no_zone(name: str) -> str:
    return f"there is no zone `{name}`: write one such as Europe/Dublin"


def _quiet_troubles(document: Document, quiet: QuietHoursForm | None) -> Iterator[Trouble]:
    place: Path = ("mail", "quiet_hours")
    if quiet is None:
        return
    if (quiet.start is None) != (quiet.end is None):
        yield document.trouble(place, "`from` and `to` stand together: write both, or neither and only `days`")
    elif quiet.start is None and not quiet.days:
        yield document.trouble(place, "this is never: write `from` and `to`, `days`, or leave `quiet_hours` out")
    elif quiet.start is not None and quiet.start == quiet.end:
        yield document.trouble((*place, "to"), "`from` and `to` are the same time; for whole days write `days: [sat, sun]`")
    if len(set(quiet.days)) == len(DAYS):
        yield document.trouble((*place, "days"), "every day is quiet: no marketing mail would ever go; leave out a day")


def _consent_troubles(document: Document, consent: ConsentForm) -> Iterator[Trouble]:
    for index, name in enumerate(consent.events):
        if name in OURS:
            yield document.trouble(("consent", "events", index), f"`{name}` is told by Dripline itself; name an event of your own site")


def _endpoint_troubles(document: Document, endpoints: Mapping[str, EndpointForm]) -> Iterator[Trouble]:
    for name, endpoint in endpoints.items():
        place: Path = ("endpoints", name)
        if message := _url_trouble(endpoint.url):
            yield document.trouble((*place, "url"), message)
        for secret in _secrets(endpoint):
            if not _is_secret(secret):
                yield document.trouble((*place, "secret"), "a secret is `whsec_` and the base64 of 24 to 64 random bytes")


def _hours_troubles(document: Document, hours: WorkingHoursForm | None) -> Iterator[Trouble]:
    if hours is None:
        return
    if hours.closes <= hours.opens:
        message = (
            f'work ends at {hours.closes} before it begins at {hours.opens}: write both within one day; `to: "{END_OF_DAY}"` is its end'
        )
        yield document.trouble(("working_hours", "to"), message)
    if hours.timezone is not None and find_zone(hours.timezone) is None:
        yield document.trouble(("working_hours", "timezone"), _no_zone(hours.timezone))


def _url_trouble(url: str) -> str | None:
    """What is wrong with an endpoint's address; whether it may be reached at all is asked when connecting."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        return "this is not a web address: write https://host/path"
    return "an address holds no user name or password: the signature says who calls" if parts.username or parts.password else None


def _secrets(endpoint: EndpointForm) -> tuple[str, ...]:
    return (endpoint.secret,) if isinstance(endpoint.secret, str) else tuple(endpoint.secret)


def _is_secret(secret: str) -> bool:
    try:
        raw = base64.b64decode(secret.removeprefix("whsec_") + "==")
    except binascii.Error:
        return False
    return secret.startswith("whsec_") and 24 <= len(raw) <= 64
