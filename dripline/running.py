"""`dripline run` from start to end: lock the folder, take the port, publish the playbook, serve, stop."""

import asyncio
import signal
import socket
import sys
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import uvloop

from dripline.check import check
from dripline.data_folder import DataFolder
from dripline.door import FAILED, Server, listening, url_of
from dripline.embedded import House, build_house
from dripline.environment import SALES_PATH, SHOP_PATH, is_demo_sales, playbook_environment
from dripline.folder_clock import FolderClock
from dripline.known_settings import unknown
from dripline.settings import RunSettings, read_settings
from dripline.watch import EVERY as WATCH_EVERY
from dripline.watch import Watch
from dripline.worker import Worker
from shared.clock import real_now
from shared.errors import ConfigurationError
from shared.housekeeping import Chore
from shared.playbooks import Playbook, read_folder
from shared.serving import http_config, relax_collector
from shared.telemetry import set_up_logging


def run(playbook: Path | None, data: Path | None, host: str, port: int, speed: float, *, demo: bool = True) -> int:
    """Run all services on one data folder until told to stop; answers the exit code. Raises ConfigurationError before anything starts."""
    settings = read_settings(RunSettings)
    set_up_logging(settings.log_format)
    source = playbook or settings.playbook or _here()
    book = read_folder(source)
    folder = DataFolder(data or settings.data_dir)
    with folder.locked(), listening(host, port, _another(port + 1, data)) as door:
        url = url_of(door)
        _refuse_mistakes(book, playbook_environment(url, folder.webhook_secret(), demo=demo))
        password, is_new = folder.console_password()
        house = build_house(folder, settings, url, password, speed, demo=demo)
        watch = Watch(source, house.ports.playbooks, house.environ, book)
        greeting = _greeting(house, settings, password if is_new else None, demo=demo)
        relax_collector()
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_serve(house, door, book, watch, greeting))


def _refuse_mistakes(book: Playbook, environ: Mapping[str, str]) -> None:
    troubles = check(book, environ)
    if troubles:
        raise ConfigurationError("the playbook has mistakes; nothing was started\n" + "\n".join(str(trouble) for trouble in troubles))


async def _serve(house: House, door: socket.socket, book: Playbook, watch: Watch, greeting: str) -> int:
    server = Server(http_config(house.app))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, server.stop)
    loops = house.loops(Chore("playbook", WATCH_EVERY, watch.look))
    worker = Worker(loops, house.footing(), house.close_connections, lambda: loop.call_soon_threadsafe(server.stop))
    try:
        await house.ports.keys.reload()
        await house.ports.playbooks.publish(book)
        house.folder.announce(house.url, house.api_key)
        worker.start()
        sys.stdout.write(greeting)
        sys.stdout.flush()
        await server.serve(sockets=[door])
    finally:
        house.folder.withdraw_announcement()
        await asyncio.to_thread(worker.stop)
        await house.close()
    return FAILED if worker.failed else 0


def _here() -> Path:
    if not Path("playbook.yaml").is_file():
        raise ConfigurationError("no playbook.yaml in this folder; name one: dripline run --playbook playbooks/starter")
    return Path()


def _another(port: int, data: Path | None) -> str:
    options = f"--port {port}" + (f" --data {data}" if data else "")
    return f'make run ARGS="{options}" (or dripline run {options})'


def warnings(clock: FolderClock, settings: RunSettings) -> list[str]:
    """What would surprise later: a clock that is ahead though it does not run fast now, links that lead nowhere."""
    found = unknown()
    ahead = clock.now() - real_now()
    if clock.speed == 1 and ahead > timedelta(minutes=1):
        found.append(
            f"Warning: this folder once ran fast; its clock is {str(ahead).split('.')[0]} ahead, and events of today count as late."
        )
    if settings.smtp_url and not settings.public_url:
        found.append("Warning: mails leave the house, but their links lead here. Set DRIPLINE_PUBLIC_URL to the address readers reach.")
    return found


def _greeting(house: House, settings: RunSettings, new_password: str | None, *, demo: bool) -> str:
    """What `run` says once it is up; the console's password only when it was made just now."""
    folder, url = house.folder.path, house.url
    sales_here = is_demo_sales(house.environ, url)
    lines = [
        "",
        "Dripline is running.",
        *([f"  shop          {url}{SHOP_PATH}/   begin here: a tea shop, and beside it what Dripline makes of you"] if demo else []),
        f"  mailbox       {url}/mailbox/   every mail it sends" if house.reception else "  mails leave through DRIPLINE_SMTP_URL",
        f"  console       {url}/   " + (f"password: {new_password}" if new_password else f"password in {folder / 'console_password'}"),
        f"  sales inbox   {url}{SALES_PATH}   every hot lead" if sales_here else "  hot leads go to the playbook's endpoints",
        f"  tracking API  {url}/v1/   write key: {house.write_key}",
        "  secret key    " + ("DRIPLINE_API_KEY" if settings.api_key else f"in {folder / 'api_key'}") + ", for your servers and the API",
        f"Ctrl-C stops it; what it knows stays in {folder}",
        *warnings(house.clock, settings),
        "",
    ]
    return "\n".join(lines) + "\n"
