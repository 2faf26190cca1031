"""All services in one process on one data folder.

HTTP lives on the main thread's loop, the stages (scoring, journeys, mailer) on one worker thread's loop; both speak to the same
log and the same database. The services are built by the same five `build`s that `serve` will call with other ports.
"""

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx

from dripline.data_folder import DataFolder
from dripline.demo.mailbox import Mailbox
from dripline.demo.sales import SalesInbox
from dripline.doorway import doorway
from dripline.migrate import migrate
from dripline.settings import RunSettings
from services.console import main as console
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
DEMO_SALES = "/demo/sales"


@dataclass(frozen=True, slots=True)
class House:
    """Everything of one data folder, built and not yet started."""

    folder: DataFolder
    ports: Ports
    log: EmbeddedLog
    services: Mapping[str, Service]
    mailbox: Mailbox | None
    app: Any

    @property
    def loops(self) -> list[Loop]:
        """What runs on the worker's loop."""
        return [*(loop for service in self.services.values() for loop in service.loops), self._keep_house]

    async def clean_up(self) -> None:
        """Close what belongs to the running loop."""
        await self.ports.database.close()

    async def _keep_house(self) -> None:
        await keep_house(
            [
                Chore("keys", timedelta(seconds=5), self.ports.keys.reload),
                Chore("clock", timedelta(seconds=5), self._save_time),
                Chore("log retention", timedelta(hours=1), self._drop_old_segments),
                *(chore for service in self.services.values() for chore in service.chores),
            ]
        )

    async def _drop_old_segments(self) -> None:
        await self.log.drop_older_than(self.ports.clock.now() - LOG_KEEPS)

    async def _save_time(self) -> None:
        self.save_time()

    def save_time(self) -> None:
        """Remember how far the clock has come, where it is ahead of the wall's."""
        now = self.ports.clock.now()
        if now > real_now() + timedelta(seconds=60) or self.folder.latest_time() is not None:
            self.folder.save_time(now)


def build_house(folder: DataFolder, settings: RunSettings, url: str, speed: float = 1.0, *, demo: bool = True) -> House:
    """Build all services on a folder that this process has locked. Migrates its database first. Raises ConfigurationError."""
    migrate(folder.database_url)
    clock = clock_of(folder, speed)
    database = Database(folder.database_url)
    log = EmbeddedLog(folder.log, clock)
    keys = KeyRing(database, clock, _fixed_keys(folder, settings))
    secret = settings.secret_key.get_secret_value().encode() if settings.secret_key else folder.secret_key()
    ports = Ports(log, database, clock, keys, Playbooks(database, clock), Signer(secret))
    environ = playbook_environment(folder, url)
    mailbox = Mailbox(folder.mailbox) if settings.smtp_url is None else None
    services = _services(folder, settings, ports, environ, url, mailbox)
    rooms = _demo(folder, services["console"], mailbox, environ) if demo else {}
    app = doorway(services["ingest"].app, services["mailer"].app, services["console"].app, rooms)
    return House(folder, ports, log, services, mailbox, app)


def clock_of(folder: DataFolder, speed: float) -> Clock:
    """The wall's clock, or, where the folder once ran ahead of it, one that goes on from there."""
    latest = folder.latest_time()
    return SystemClock(speed, max(latest, real_now()) if latest else None)


def playbook_environment(folder: DataFolder, url: str) -> dict[str, str]:
    """What `${NAME}` means in playbook.yaml. Where no sales endpoint is named, sales is the demo's inbox."""
    sales = {"SALES_WEBHOOK_URL": f"{url}{DEMO_SALES}", "SALES_WEBHOOK_SECRET": folder.webhook_secret()}
    return sales | dict(os.environ)


def _fixed_keys(folder: DataFolder, settings: RunSettings) -> list[tuple[str, Key]]:
    api_key = settings.api_key.get_secret_value() if settings.api_key else folder.api_key()
    write_key = settings.write_key.get_secret_value() if settings.write_key else folder.write_key()
    return [
        (api_key, Key(key_id(api_key), "secret", "admin", "this data folder's secret key")),
        (write_key, Key(key_id(write_key), "write", None, "this data folder's write key")),
    ]


def _services(
    folder: DataFolder, settings: RunSettings, ports: Ports, environ: Mapping[str, str], url: str, mailbox: Mailbox | None
) -> dict[str, Service]:
    raise NotImplementedError


@asynccontextmanager
async def opened(data: Path) -> AsyncIterator[tuple[httpx.AsyncClient, str]]:
    """The API of a folder that no `run` holds: its services without their loops, called without a socket; with a secret key for it.

    Raises ConfigurationError where the folder is in use.
    """
    folder = DataFolder(data)
    settings = RunSettings()
    with folder.locked():
        house = build_house(folder, settings, "http://dripline", demo=False)
        await house.ports.keys.reload()
        transport = httpx.ASGITransport(app=house.app)
        try:
            async with httpx.AsyncClient(transport=transport, base_url="http://dripline", trust_env=False) as client:
                yield client, folder.api_key()
        finally:
            await house.log.close()
            await house.clean_up()
