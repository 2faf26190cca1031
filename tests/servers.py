"""The real servers that tests talk to: one of each for a whole test run, started when the first test asks, stopped by pid at its end."""

import atexit
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from deploy.servers import Kafka, KafkaCluster, Missing, Postgres


@cache
def kafka() -> Kafka:
    """A Kafka broker; skips the test where there can be none, and fails it where REQUIRE_SERVICES says that there must be."""
    return _started(Kafka(_folder("kafka"), heap="384m"))


@cache
def kafka_cluster() -> KafkaCluster:
    """Three brokers, of which one may be killed; skips or fails as `kafka` does."""
    return _started(KafkaCluster(_folder("kafka-cluster")))


@cache
def postgres() -> Postgres:
    """A PostgreSQL server; skips or fails as `kafka` does."""
    return _started(Postgres(_folder("postgres"), durable=False))


@contextmanager
def postgres_to_crash() -> Iterator[Postgres]:
    """One of the caller's own, which may be ended at will and keeps what it committed."""
    server = _started(Postgres(_folder("postgres-to-crash")))
    yield server
    server.stop()


def _folder(name: str) -> Path:
    folder = Path(tempfile.mkdtemp(prefix=f"dripline-{name}-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@contextmanager
def required() -> Iterator[None]:
    """What cannot be had on this machine skips the test, and fails it where REQUIRE_SERVICES says that it must be."""
    try:
        yield
    except Missing as missing:
        if os.environ.get("REQUIRE_SERVICES"):
            pytest.fail(str(missing), pytrace=False)
        pytest.skip(str(missing))


def _started(server: Any) -> Any:
    with required():
        server.start()
    atexit.register(server.stop)
    return server
