"""Servers under measurement, each a process of its own pinned to one core; the load comes from the other."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

SERVER_CORE, LOAD_CORE = 0, 1
START_SECONDS = 30


def pinned(core: int | None) -> Any:
    """A `preexec_fn` that keeps a process on one core, where the system can."""
    if core is None or not hasattr(os, "sched_setaffinity") or (os.cpu_count() or 1) < 2:
        return None
    return lambda: os.sched_setaffinity(0, {core})


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def serving(
    command: Sequence[str], port: int, core: int | None = SERVER_CORE, environment: dict[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run `command` until the block ends; it listens on `port` when the block begins."""
    process = subprocess.Popen(command, preexec_fn=pinned(core), env=os.environ | (environment or {}), stdout=subprocess.DEVNULL)
    try:
        _wait_for(port, process)
        yield process
    finally:
        process.terminate()
        process.wait(20)


def post(
    url: str,
    path: str,
    connections: int,
    seconds: float,
    *,
    batch: int,
    key: str,
    leads: int = 5000,
    core: int | None = LOAD_CORE,
    rate: float = 0,
) -> dict[str, Any]:
    """One run of the load generator; raises if an answer was not 200."""
    tag = f"{time.monotonic_ns():x}"
    command = [
        sys.executable,
        "-m",
        "bench.posting",
        url,
        path,
        str(connections),
        str(seconds),
        str(batch),
        str(leads),
        tag,
        key,
        str(rate),
    ]
    done = subprocess.run(command, preexec_fn=pinned(core), check=True, capture_output=True, timeout=seconds * 4 + 30)
    result: dict[str, Any] = json.loads(done.stdout)
    if result["bad"]:
        raise AssertionError(f"{result['bad']} answers of {url}{path} were not 200")
    return result


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until:
        if process.poll() is not None:
            raise AssertionError(f"{process.args!r} ended with {process.returncode}")
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise AssertionError(f"{process.args!r} does not listen")
