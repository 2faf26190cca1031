"""`dripline serve NAME`: one service in one process, on PostgreSQL and Kafka; any number of each may run."""

import asyncio
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import partial

import uvloop
from sqlalchemy import inspect, text

from dripline.door import FAILED, Farewell, Server, listening, url_of
from dripline.environment import playbook_environment
from dripline.migrate import HEAD, migrate
from dripline.settings import ServeSettings, read_settings
from dripline.upkeep import REINDEXED, measure_dead_rows, reindex
from dripline.worker import Worker
from shared.database_clock import DatabaseClock
from shared.db import Database
from shared.errors import ConfigurationError, Outage
from shared.failpoints import arm
from shared.housekeeping import Chore, keep_house
from shared.kafka_cluster import Cluster
from shared.kafka_door import knock
from shared.kafka_log import KafkaLog
from shared.kafka_topics import Layout, differences, make_topics
from shared.keys import Key, KeyRing, key_id
from shared.playbooks import Playbooks
from shared.service import Ports, Service
from shared.serving import http_config, relax_collector
from shared.signing import Signer
from shared.telemetry import log as logger
from shared.telemetry import set_up_logging

PORTS = {"console": 8300, "ingest": 8301, "scoring": 8302, "journeys": 8303, "mailer": 8304}
"""Where each listens unless told otherwise: the console's front looks for the others there."""
LOOKS = timedelta(seconds=10)
STOP_SECONDS = 12.0
"""How long ending may take once nothing is answered any more. What hangs then, on a server that is away, loses nothing: a kill does not."""
SPREAD = 0.2
"""By how much of its period a chore rings sooner or later: replicas that were begun together do not ask the database together."""

Build = Callable[[ServeSettings, Ports, Mapping[str, str]], Service]


def serve(name: str, host: str, port: int | None) -> int:
    """Run one service until told to stop; answers the exit code. Raises ConfigurationError before anything starts."""
    settings = read_settings(ServeSettings)
    set_up_logging(settings.log_format)
    arm(settings.failpoints)
    _refuse_old_schema(settings)
    _refuse_shut_door(settings.cluster())
    wanted = PORTS[name] if port is None else port
    with listening(host, wanted, f"dripline serve {name} --port {wanted + 1}") as door:
        relax_collector()
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_serve(name, settings, door))


async def _serve(name: str, settings: ServeSettings, door: socket.socket) -> int:
    database = Database(settings.database_url.get_secret_value())
    clock = DatabaseClock(database)
    kafka = KafkaLog(settings.cluster())
    ports = Ports(
        kafka,
        database,
        clock,
        KeyRing(database, clock, _fixed(settings)),
        Playbooks(database, clock),
        Signer(settings.secret_key.get_secret_value().encode()),
    )
    service = BUILDS[name](settings, ports, playbook_environment(settings.public_url, demo=False))
    chores = [
        Chore("keys", timedelta(seconds=5), ports.keys.reload),
        Chore("clock", LOOKS, clock.look),
        Chore("reindex", REINDEXED, partial(reindex, database.url)),
        Chore("dead rows", timedelta(minutes=1), partial(measure_dead_rows, database)),
        *service.chores,
    ]
    farewell = Farewell(service.app)
    server = Server(http_config(farewell))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, _leave, server, farewell, settings.drain_seconds)
    housekeeping = partial(keep_house, chores, SPREAD)
    worker = Worker([*service.loops, housekeeping], [], database.close, lambda: loop.call_soon_threadsafe(server.stop))
    try:
        await clock.look()
        await ports.keys.reload()
        worker.start()
        sys.stdout.write(f"Dripline {name} on {url_of(door)}\n")
        sys.stdout.flush()
        await server.serve(sockets=[door])
    finally:
        await asyncio.to_thread(worker.stop)
        await kafka.close()
        await database.close()
    return FAILED if worker.failed else 0


def _leave(server: Server, farewell: Farewell, seconds: float) -> None:
    last = threading.Timer(seconds + STOP_SECONDS, _end_at_once)
    last.daemon = True
    last.start()
    server.leave(farewell, seconds)


def _end_at_once() -> None:
    logger.warning("serve.ended_at_once", seconds=STOP_SECONDS)
    os._exit(FAILED)


def prepare(settings: ServeSettings) -> tuple[list[str], list[str], list[str]]:
    """Bring the database up to date and make the topics; answers the revisions applied, the topics made, and what differs in others."""
    cluster, replicas = settings.cluster(), settings.kafka_replicas
    applied = migrate(settings.database_url.get_secret_value())
    layout = Layout(settings.kafka_partitions, replicas, max(1, replicas - 1))
    return applied, asyncio.run(make_topics(cluster, layout)), asyncio.run(differences(cluster, layout))


def _refuse_old_schema(settings: ServeSettings) -> None:
    """A replica never migrates by itself: of two versions during a rolling restart the older one must go on working."""
    known = asyncio.run(_revision(settings.database_url.get_secret_value()))
    if known is None or known < HEAD:
        raise ConfigurationError(f"the database is at revision {known}, this Dripline needs {HEAD}: run `dripline migrate` first")


def _refuse_shut_door(cluster: Cluster) -> None:
    """A wrong setting stops us here, by its name; a Kafka that is away now is waited for, as at any other time."""
    try:
        asyncio.run(knock(cluster))
    except Outage as outage:
        logger.warning("kafka.away", why=str(outage))


async def _revision(url: str) -> str | None:
    database = Database(url)
    try:
        async with database.reading() as connection:
            if not await connection.run_sync(lambda sync: inspect(sync).has_table("alembic_version")):
                return None
            found: str | None = (await connection.execute(text("SELECT version_num FROM alembic_version"))).scalar_one_or_none()
            return found
    finally:
        await database.close()


def _fixed(settings: ServeSettings) -> list[tuple[str, Key]]:
    """The keys that the environment fixes."""
    found = []
    if settings.write_key:
        token = settings.write_key.get_secret_value()
        found.append((token, Key(key_id(token), "write", None, "DRIPLINE_WRITE_KEY")))
    if settings.api_key:
        token = settings.api_key.get_secret_value()
        found.append((token, Key(key_id(token), "secret", "admin", "DRIPLINE_API_KEY")))
    return found


# A process loads its own service and no other: it starts in half the time, which counts where one is started again after a crash.


def _ingest(settings: ServeSettings, ports: Ports, environ: Mapping[str, str]) -> Service:
    from services.ingest import main as ingest
    from services.ingest.settings import IngestSettings
    from services.ingest.spool import open_spool
    from services.ingest.spooled_log import SpooledLog

    ours = read_settings(IngestSettings, public_url=settings.public_url)
    return ingest.build(ours, ports, spooled=SpooledLog(ports.log, open_spool(ours.spool_dir, ours.spool_bytes), ports.clock))


def _scoring(settings: ServeSettings, ports: Ports, environ: Mapping[str, str]) -> Service:
    from services.scoring import main as scoring
    from services.scoring.settings import ScoringSettings

    return scoring.build(read_settings(ScoringSettings), ports, environ)


def _journeys(settings: ServeSettings, ports: Ports, environ: Mapping[str, str]) -> Service:
    from services.journeys import main as journeys
    from services.journeys.settings import JourneysSettings

    return journeys.build(read_settings(JourneysSettings), ports, environ)


def _mailer(settings: ServeSettings, ports: Ports, environ: Mapping[str, str]) -> Service:
    from services.mailer import main as mailer
    from services.mailer.settings import MailerSettings

    return mailer.build(read_settings(MailerSettings, public_url=settings.public_url), ports, environ=environ)


def _console(settings: ServeSettings, ports: Ports, environ: Mapping[str, str]) -> Service:
    from dripline.check import check
    from services.console import main as console
    from services.console.session import hash_password
    from services.console.settings import ConsoleSettings
    from services.console.upstreams import HttpUpstreams

    if settings.api_key is None or settings.console_password is None:
        raise ConfigurationError("the console needs DRIPLINE_API_KEY, to ask the services with, and DRIPLINE_CONSOLE_PASSWORD, for people")
    salt = ports.signer.mac("salt of the console's password", b"")
    ours = read_settings(
        ConsoleSettings,
        console_password_hash=hash_password(settings.console_password.get_secret_value(), salt),
        api_key=settings.api_key,
        public_url=settings.public_url,
    )
    urls = {name: getattr(settings, f"{name}_url") for name in ("ingest", "scoring", "journeys", "mailer")}
    return console.build(ours, ports, HttpUpstreams.at(urls), partial(check, environ=environ))


BUILDS: Mapping[str, Build] = {"ingest": _ingest, "scoring": _scoring, "journeys": _journeys, "mailer": _mailer, "console": _console}
