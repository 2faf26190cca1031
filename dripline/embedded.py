"""All services in one process on one data folder.

HTTP lives on the main thread's loop, the stages (scoring, journeys, mailer) on one worker thread's loop; both speak to the same
log and the same database. The services are built by the same five `build`s that `serve` will call with other ports.
"""

import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path

import httpx
from starlette.types import ASGIApp

from dripline.check import check
from dripline.data_folder import DataFolder
from dripline.demo.mailbox import Mailbox, Reception
from dripline.demo.mailbox_pages import mailbox_room
from dripline.demo.sales import HouseSender, SalesInbox
from dripline.demo.shop import Shop
from dripline.doorway import doorway
from dripline.environment import is_demo_sales, playbook_environment
from dripline.erasing import HOUSE, HouseErasing
from dripline.folder_clock import EVERY as RESERVE_EVERY
from dripline.folder_clock import FolderClock
from dripline.migrate import migrate
from dripline.settings import RunSettings, read_settings
from services.console import main as console
from services.console.pages import Room
from services.console.session import hash_password
from services.console.settings import ConsoleSettings
from services.console.upstreams import HttpUpstreams
from services.ingest import main as ingest
from services.ingest.settings import IngestSettings
from services.journeys import main as journeys
from services.journeys.settings import JourneysSettings
from services.mailer import main as mailer
from services.mailer.settings import MailerSettings
from services.scoring import main as scoring
from services.scoring.settings import ScoringSettings
from shared.clock import Clock
from shared.db import Database
from shared.embedded_log import EmbeddedLog
from shared.erasing import Marks
from shared.errors import Outage
from shared.housekeeping import Chore, keep_house
from shared.keys import Key, KeyRing, key_id
from shared.playbooks import Playbooks
from shared.service import Loop, Ports, Service
from shared.signing import Signer
from shared.telemetry import log as logger
from shared.telemetry import set_up_logging

LOG_KEEPS = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class House:
    """Everything of one data folder, built and not yet started."""

    folder: DataFolder
    url: str
    environ: Mapping[str, str]  # what `${NAME}` means in the playbook
    write_key: str
    api_key: str
    clock: FolderClock
    ports: Ports
    log: EmbeddedLog
    services: Mapping[str, Service]
    reception: Reception | None
    erasing: HouseErasing
    app: ASGIApp

    def loops(self, *chores: Chore) -> list[Loop]:
        """What runs on the worker's loop; `chores` are done beside the house's own."""
        ours = [
            Chore("keys", timedelta(seconds=5), self.ports.keys.refresh),
            Chore("clock", RESERVE_EVERY, self._reserve_time),
            Chore("log retention", timedelta(hours=1), self._drop_old_segments),
            Chore("erasures", timedelta(seconds=2), self.erasing.look),
        ]
        theirs = [chore for service in self.services.values() for chore in service.chores]
        return [*(loop for service in self.services.values() for loop in service.loops), partial(keep_house, [*ours, *theirs, *chores])]

    def footing(self) -> list[Loop]:
        """What the loops stand on: it must end after them."""
        return [self.reception.serve] if self.reception else []

    async def close_connections(self) -> None:
        """Close what belongs to the running loop."""
        await self.ports.database.close()

    async def close(self) -> None:
        """Close the rest, once nothing runs any more."""
        try:
            self.clock.give_back()
        except Outage as outage:  # the next start begins at the time reserved before
            logger.warning("clock.not_saved", why=str(outage))
        if self.reception:
            self.reception.close()
        await self.log.close()
        await self.close_connections()

    async def _reserve_time(self) -> None:
        self.clock.reserve()

    async def _drop_old_segments(self) -> None:
        await self.log.drop_older_than(self.clock.now() - LOG_KEEPS)


def build_house(folder: DataFolder, settings: RunSettings, url: str, password: str, speed: float = 1.0, *, demo: bool = True) -> House:
    """Build all services on a folder that this process has locked, bringing its database up to date first. Raises ConfigurationError."""
    migrate(folder.database_url)
    clock = FolderClock(folder, speed)
    database = Database(folder.database_url, sole=True)
    log = EmbeddedLog(folder.log, clock)
    write_key = settings.write_key.get_secret_value() if settings.write_key else folder.write_key()
    api_key = settings.api_key.get_secret_value() if settings.api_key else folder.api_key()
    keys = KeyRing(database, clock, _fixed(write_key, api_key))
    secret = settings.secret_key.get_secret_value().encode() if settings.secret_key else folder.secret_key()
    ports = Ports(log, database, clock, keys, Playbooks(database, clock), Signer(secret))
    environ = playbook_environment(url, folder.webhook_secret(), demo=demo)
    reception = Reception(Mailbox(folder.mailbox)) if settings.smtp_url is None else None
    services = _stages(settings, ports, log, url, environ, reception)
    shop = [Shop(write_key, ports.signer, clock, speed).room()] if demo else []
    rooms = [*shop, *_mailbox(reception), *_sales_inbox(folder, url, environ, clock, services["mailer"].app)]
    erasing = HouseErasing(database, log, clock, Marks(ports.signer), {room.title: room.forget for room in rooms if room.forget})
    upstreams = HttpUpstreams.within({name: service.app for name, service in services.items()})
    told = _console_settings(settings, ports, url, api_key, password)
    services["console"] = console.build(told, ports, upstreams, partial(check, environ=environ), rooms, {HOUSE: erasing.of})
    app = doorway(services["ingest"].app, services["mailer"].app, services["console"].app)
    return House(folder, url, environ, write_key, api_key, clock, ports, log, services, reception, erasing, app)


def _fixed(write_key: str, api_key: str) -> list[tuple[str, Key]]:
    return [
        (write_key, Key(key_id(write_key), "write", None, "this data folder's write key")),
        (api_key, Key(key_id(api_key), "secret", "admin", "this data folder's secret key")),
    ]


def _stages(
    settings: RunSettings, ports: Ports, log: EmbeddedLog, url: str, environ: Mapping[str, str], reception: Reception | None
) -> dict[str, Service]:
    mailer_settings = read_settings(
        MailerSettings,
        smtp_url=reception.url if reception else settings.smtp_url,
        public_url=settings.public_url or url,
        allow_private_webhooks=settings.allow_private_webhooks,
        sole_owner=True,
    )
    ours = environ["SALES_WEBHOOK_URL"] if is_demo_sales(environ, url) else ""
    webhooks = HouseSender(ours, allow_private=settings.allow_private_webhooks)
    return {
        "ingest": ingest.build(read_settings(IngestSettings), ports, [log.check]),
        "scoring": scoring.build(read_settings(ScoringSettings), ports, environ),
        "journeys": journeys.build(read_settings(JourneysSettings), ports, environ),
        "mailer": mailer.build(mailer_settings, ports, environ=environ, webhooks=webhooks),
    }


def _console_settings(settings: RunSettings, ports: Ports, url: str, api_key: str, password: str) -> ConsoleSettings:
    password_hash = hash_password(password, ports.signer.mac("salt of the console's password", b""))  # the same at every start
    return read_settings(ConsoleSettings, console_password_hash=password_hash, api_key=api_key, public_url=settings.public_url or url)


def _mailbox(reception: Reception | None) -> list[Room]:
    return [mailbox_room(reception.mailbox)] if reception else []


def _sales_inbox(folder: DataFolder, url: str, environ: Mapping[str, str], clock: Clock, mailer: ASGIApp) -> list[Room]:
    if not is_demo_sales(environ, url):
        return []
    return [SalesInbox(folder.path / "sales.jsonl", environ["SALES_WEBHOOK_SECRET"], clock.now, mailer).room()]


@asynccontextmanager
async def opened(data: Path) -> AsyncIterator[tuple[httpx.AsyncClient, str]]:
    """The API of a folder that no `run` holds: its services without their loops, called without a socket; with a secret key for it.

    Raises ConfigurationError where the folder is in use.
    """
    settings = read_settings(RunSettings)
    set_up_logging(settings.log_format)
    folder = DataFolder(data)
    with folder.locked():
        unused = secrets.token_urlsafe()  # nobody signs in here
        house = build_house(folder, settings, "http://dripline", unused)
        try:
            await house.ports.keys.reload()
            transport = httpx.ASGITransport(app=house.app)
            async with httpx.AsyncClient(transport=transport, base_url=house.url, trust_env=False) as client:
                yield client, house.api_key
        finally:
            await house.close()
