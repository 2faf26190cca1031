"""All services in one process on one data folder.

HTTP lives on the main thread's loop, the stages (scoring, journeys, mailer) on one worker thread's loop; both speak to the same
log and the same database. The services are built by the same five `build`s that `serve` will call with other ports.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import httpx
from pydantic import SecretStr
from starlette.types import ASGIApp

from dripline.data_folder import DataFolder
from dripline.demo.mailbox import Mailbox, Reception
from dripline.demo.mailbox_pages import mailbox_room
from dripline.demo.sales import SalesInbox
from dripline.doorway import doorway
from dripline.environment import is_demo_sales, playbook_environment
from dripline.migrate import migrate
from dripline.settings import RunSettings
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
from shared.clock import Clock, SystemClock, real_now
from shared.db import Database
from shared.embedded_log import EmbeddedLog
from shared.housekeeping import Chore, keep_house
from shared.keys import Key, KeyRing, key_id
from shared.playbooks import Playbooks
from shared.service import Loop, Ports, Service
from shared.signing import Signer

LOG_KEEPS = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class House:
    """Everything of one data folder, built and not yet started."""

    folder: DataFolder
    write_key: str
    ports: Ports
    log: EmbeddedLog
    services: Mapping[str, Service]
    reception: Reception | None
    app: ASGIApp

    @property
    def loops(self) -> list[Loop]:
        """What runs on the worker's loop."""
        mail = [self.reception.serve] if self.reception else []
        return [*mail, *(loop for service in self.services.values() for loop in service.loops), self._keep_house]

    def save_time(self) -> None:
        """Remember how far the clock has come, where it is ahead of the wall's."""
        now = self.ports.clock.now()
        if now > real_now() + timedelta(minutes=1) or self.folder.latest_time() is not None:
            self.folder.save_time(now)

    async def close_connections(self) -> None:
        """Close what belongs to the running loop."""
        await self.ports.database.close()

    async def close(self) -> None:
        """Close the rest, once nothing runs any more."""
        self.save_time()
        if self.reception:
            self.reception.close()
        await self.log.close()
        await self.close_connections()

    async def _keep_house(self) -> None:
        ours = [
            Chore("keys", timedelta(seconds=5), self.ports.keys.reload),
            Chore("clock", timedelta(seconds=5), self._save_time),
            Chore("log retention", timedelta(hours=1), self._drop_old_segments),
        ]
        await keep_house([*ours, *(chore for service in self.services.values() for chore in service.chores)])

    async def _save_time(self) -> None:
        self.save_time()

    async def _drop_old_segments(self) -> None:
        await self.log.drop_older_than(self.ports.clock.now() - LOG_KEEPS)


def build_house(folder: DataFolder, settings: RunSettings, url: str, speed: float = 1.0, *, demo: bool = True) -> House:
    """Build all services on a folder that this process has locked, bringing its database up to date first. Raises ConfigurationError."""
    migrate(folder.database_url)
    clock = clock_of(folder, speed)
    database = Database(folder.database_url)
    log = EmbeddedLog(folder.log, clock)
    write_key = settings.write_key.get_secret_value() if settings.write_key else folder.write_key()
    api_key = settings.api_key.get_secret_value() if settings.api_key else folder.api_key()
    keys = KeyRing(database, clock, _fixed(write_key, api_key))
    secret = settings.secret_key.get_secret_value().encode() if settings.secret_key else folder.secret_key()
    ports = Ports(log, database, clock, keys, Playbooks(database, clock), Signer(secret))
    reception = Reception(Mailbox(folder.mailbox)) if settings.smtp_url is None else None
    services = _services(folder, settings, ports, url, api_key, reception, demo=demo)
    app = doorway(services["ingest"].app, services["mailer"].app, services["console"].app)
    return House(folder, write_key, ports, log, services, reception, app)


def clock_of(folder: DataFolder, speed: float) -> Clock:
    """The wall's clock, or, where the folder once ran ahead of it, one that goes on from there."""
    latest = folder.latest_time()
    return SystemClock(speed, max(latest, real_now()) if latest else None)


def _fixed(write_key: str, api_key: str) -> list[tuple[str, Key]]:
    return [
        (write_key, Key(key_id(write_key), "write", None, "this data folder's write key")),
        (api_key, Key(key_id(api_key), "secret", "admin", "this data folder's secret key")),
    ]


def _services(
    folder: DataFolder, settings: RunSettings, ports: Ports, url: str, api_key: str, reception: Reception | None, *, demo: bool
) -> dict[str, Service]:
    environ = playbook_environment(url, folder.webhook_secret())
    demo_sales = demo and is_demo_sales(environ, url)
    smtp_url = SecretStr(reception.url) if reception else settings.smtp_url
    assert smtp_url is not None
    mailer_settings = MailerSettings(
        smtp_url=smtp_url,
        public_url=settings.public_url or url,
        allow_private_webhooks=settings.allow_private_webhooks or demo_sales,
        sole_owner=True,
    )
    built = {
        "ingest": ingest.build(IngestSettings(), ports),
        "scoring": scoring.build(ScoringSettings(), ports),
        "journeys": journeys.build(JourneysSettings(), ports),
        "mailer": mailer.build(mailer_settings, ports, environ=environ),
    }
    rooms: list[Room] = [mailbox_room(reception.mailbox)] if reception else []
    if demo_sales:
        inbox = SalesInbox(folder.path / "sales.jsonl", environ["SALES_WEBHOOK_SECRET"], ports.clock.now)
        rooms.append(inbox.room())
    password, _ = folder.console_password()
    console_settings = ConsoleSettings(
        console_password_hash=hash_password(password), api_key=SecretStr(api_key), public_url=settings.public_url or url
    )
    upstreams = HttpUpstreams.within({name: service.app for name, service in built.items()})
    return built | {"console": console.build(console_settings, ports, upstreams, rooms)}


@asynccontextmanager
async def opened(data: Path) -> AsyncIterator[tuple[httpx.AsyncClient, str]]:
    """The API of a folder that no `run` holds: its services without their loops, called without a socket; with a secret key for it.

    Raises ConfigurationError where the folder is in use.
    """
    folder = DataFolder(data)
    with folder.locked():
        house = build_house(folder, RunSettings(), "http://dripline", demo=False)
        await house.ports.keys.reload()
        try:
            transport = httpx.ASGITransport(app=house.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://dripline", trust_env=False) as client:
                yield client, folder.api_key()
        finally:
            await house.close()
