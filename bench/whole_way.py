"""The whole of `dripline run` as a process of its own: throughput, latency, and what it costs to be idle."""

import json
import sqlite3
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import psutil
from aiosmtpd.controller import Controller

from bench.pairs import Figure
from bench.servers import free_port, post, serving

KEY = "sk_bench-0123456789abcdef"
PLAYBOOK = Path(__file__).parent / "playbook"
LOAD_SECONDS = 20.0
OFFERED = 5_000
"""Events a second posted by 100: what is measured is how many of them a second come out at the other end."""
MAILS = 200
IDLE_SECONDS = 60.0
SETTLE_SECONDS = 10.0


class Sink:
    """A mail server that knows when each recipient's mail was accepted."""

    def __init__(self) -> None:
        self.accepted: dict[str, float] = {}
        self.came = threading.Event()

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        self.accepted[envelope.rcpt_tos[0]] = time.perf_counter()
        self.came.set()
        return "250 accepted"


@contextmanager
def running(folder: Path, sink: Sink | None = None) -> Iterator[tuple[str, int]]:
    """`dripline run` on a fresh folder, on both cores; gives its address and process id."""
    port, mail_port = free_port(), free_port()
    controller = Controller(sink or Sink(), hostname="127.0.0.1", port=mail_port)
    controller.start()
    environment = {
        "DRIPLINE_SMTP_URL": f"smtp://127.0.0.1:{mail_port}",
        "DRIPLINE_API_KEY": KEY,
        "SALES_WEBHOOK_URL": "",
        "SALES_WEBHOOK_SECRET": "",
    }
    command = [
        sys.executable,
        "-m",
        "dripline",
        "run",
        "--playbook",
        str(PLAYBOOK),
        "--data",
        str(folder),
        "--port",
        str(port),
        "--no-demo",
    ]
    try:
        with serving(command, port, core=None, environment=environment) as process:
            yield f"http://127.0.0.1:{port}", process.pid
    finally:
        controller.stop()


def throughput() -> Iterator[Figure]:
    """Events posted by 100 at a steady rate, until every walk that they began has its delivery row."""
    with tempfile.TemporaryDirectory() as folder, running(Path(folder)) as (url, pid):
        started = time.perf_counter()
        result = post(url, "/v1/batch", 8, LOAD_SECONDS, batch=100, key=KEY, leads=19_997, core=None, rate=OFFERED / 100)
        events = result["requests"] * 100
        seconds = _until_rows(Path(folder) / "state.db", events) - started
        yield Figure(
            "the whole way, event to delivery row",
            events / seconds,
            "events/s",
            4000,
            at_least=True,
            note=f"{events:,} events; acks p50 {result['p50_ms']:.0f} ms, p99 {result['p99_ms']:.0f} ms; {_memory(pid):.0f} MB",
        )


def _until_rows(state: Path, events: int) -> float:
    """Waits until scoring has recorded every event and journeys and mailer have caught up; answers when."""
    while True:
        time.sleep(0.25)
        with sqlite3.connect(state) as database:
            position = dict(database.execute("SELECT consumer_group || '/' || topic, next_offset FROM shared_position"))
            recorded = database.execute("SELECT count(*) FROM scoring_event").fetchone()[0]
            activities = database.execute("SELECT coalesce(sum(sequence), 0) FROM scoring_lead").fetchone()[0]
        if recorded >= events and position.get("journeys/activities", 0) >= activities:
            with sqlite3.connect(state) as database:
                sends = database.execute("SELECT count(*) FROM journeys_enrollment").fetchone()[0]
                rows = database.execute("SELECT count(*) FROM mailer_delivery").fetchone()[0]
            if rows >= sends:
                return time.perf_counter()


def latency() -> Iterator[Figure]:
    """One event after the other on an idle system, each to its accepted mail."""
    sink = Sink()
    with tempfile.TemporaryDirectory() as folder, running(Path(folder), sink) as (url, _):
        taken = [one_mail(url, sink, f"reader-{number}@example.com", f"reader-{number}") for number in range(MAILS)]
    taken.sort()
    yield Figure("event to accepted mail, p50", statistics.median(taken) * 1000, "ms", 100)
    yield Figure("event to accepted mail, p99", taken[int(len(taken) * 0.99)] * 1000, "ms", 500)


def one_mail(url: str, sink: Sink, address: str, user: str) -> float:
    """Seconds from a user's event to the acceptance of the mail that it leads to."""
    _call(url, "/v1/identify", {"userId": user, "traits": {"email": address, "consent": True}})
    time.sleep(0.05)
    started = time.perf_counter()
    _call(url, "/v1/track", {"userId": user, "event": "Ebook Downloaded"})
    while address not in sink.accepted:
        sink.came.wait(5)
        sink.came.clear()
    return sink.accepted[address] - started


def _call(url: str, path: str, body: dict[str, Any]) -> None:
    request = Request(url + path, json.dumps(body | {"writeKey": KEY}).encode(), {"Content-Type": "application/json"})
    with urlopen(request, timeout=10) as answer:
        assert answer.status == 200


def idle() -> Iterator[Figure]:
    """Nothing happens for a minute."""
    with tempfile.TemporaryDirectory() as folder, running(Path(folder)) as (_, pid):
        yield from at_rest(pid, "idle", 150)


def at_rest(pid: int, name: str, megabytes: float) -> Iterator[Figure]:
    """What a process takes while nothing happens to it."""
    time.sleep(SETTLE_SECONDS)
    process = psutil.Process(pid)
    before = sum(process.cpu_times()[:2])
    time.sleep(IDLE_SECONDS)
    used = sum(process.cpu_times()[:2]) - before
    yield Figure(f"{name}: share of one core over 60 s", used / IDLE_SECONDS * 100, "%", 1)
    yield Figure(f"{name}: memory", _memory(pid), "MB", megabytes)


def _memory(pid: int) -> float:
    resident: int = psutil.Process(pid).memory_info().rss
    return resident / 1e6
