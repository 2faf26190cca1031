"""`dripline run` from start to end: lock the folder, take the port, publish the playbook, serve, stop."""

import asyncio
import contextlib
import errno
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import uvicorn
import uvloop

from dripline.check import check
from dripline.data_folder import DataFolder
from dripline.embedded import House, build_house
from dripline.environment import SALES_PATH, playbook_environment
from dripline.settings import RunSettings
from dripline.worker import Worker
from shared.errors import ConfigurationError
from shared.playbooks import Playbook, read_folder
from shared.telemetry import set_up_logging

FAILED = 70
"""The exit code of a process whose stage died: its supervisor starts it again."""


def run(playbook: Path | None, data: Path | None, host: str, port: int, speed: float, *, demo: bool = True) -> int:
    """Run all services on one data folder until told to stop; answers the exit code. Raises ConfigurationError before anything starts."""
    settings = RunSettings()
    set_up_logging(settings.log_format)
    book = read_folder(playbook or settings.playbook or _here())
    folder = DataFolder(data or settings.data_dir)
    with folder.locked(), _listening(host, port) as listening:
        url = _url(listening)
        troubles = check(book, playbook_environment(url, folder.webhook_secret()))
        if troubles:
            raise ConfigurationError("the playbook has errors; nothing was started\n" + "\n".join(str(trouble) for trouble in troubles))
        house = build_house(folder, settings, url, speed, demo=demo)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_serve(house, listening, book, url))


async def _serve(house: House, listening: socket.socket, book: Playbook, url: str) -> int:
    config = uvicorn.Config(house.app, lifespan="off", log_config=None, access_log=False, server_header=False, timeout_graceful_shutdown=5)
    server = _Server(config)
    loop = asyncio.get_running_loop()

    def stop() -> None:
        server.should_exit = True

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)
    worker = Worker(house.loops, house.close_connections, lambda: loop.call_soon_threadsafe(stop))
    await house.ports.keys.reload()
    await house.ports.playbooks.publish(book)
    worker.start()
    house.folder.announce(url)
    _greet(house, url)
    try:
        await server.serve(sockets=[listening])
    finally:
        house.folder.withdraw_announcement()
        await asyncio.to_thread(worker.stop)
        await house.close()
    return FAILED if worker.failed else 0


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: it would raise the signal again before the stages have ended."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _here() -> Path:
    if not Path("playbook.yaml").is_file():
        raise ConfigurationError("no playbook.yaml in this folder; name one: dripline run --playbook playbooks/starter")
    return Path()


@contextlib.contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    """A bound socket; taken before anything else is started, so that a port in use costs nothing."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((host, port))
        except OSError as error:
            raise ConfigurationError(_port_trouble(host, port, error)) from error
        yield listening


def _port_trouble(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f'port {port} on {host} is in use; take another: make run ARGS="--port {port + 1}" (or dripline run --port {port + 1})'
    return f"cannot listen on {host}:{port}: {error.strerror}"


def _url(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _greet(house: House, url: str) -> None:
    password, fresh = house.folder.console_password()
    folder = house.folder.path
    shown = f"password: {password}" if fresh else f"password in {folder / 'console_password'}"
    lines = [
        "",
        "Dripline is running.",
        f"  console       {url}/   {shown}",
        f"  mailbox       {url}/mailbox/   every mail it sends" if house.reception else "  mails leave through DRIPLINE_SMTP_URL",
        f"  sales inbox   {url}{SALES_PATH}   every hot lead",
        f"  tracking API  {url}/v1/   write key: {house.write_key}",
        f"  secret key    in {folder / 'api_key'}, for your servers and the API",
        "Ctrl-C stops it; what it knows stays in " + str(folder),
        "",
    ]
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()
