"""What every test may ask for."""

import os
import signal
from collections.abc import Callable, Iterator
from types import FrameType
from typing import NoReturn

import pytest

from tests import databases


def pytest_configure() -> None:
    """Who is told to stop stops the servers that it has started."""
    signal.signal(signal.SIGTERM, _leave)


def _leave(number: int, frame: FrameType | None) -> NoReturn:
    pytest.exit("told to stop", 128 + number)


def without(name: str, reason: str) -> NoReturn:
    """End the test for want of a service (a browser, Node): skipped, or failed where REQUIRE_SERVICES=1 promises it."""
    message = f"without {name}: {reason}"
    if os.environ.get("REQUIRE_SERVICES") == "1":
        pytest.fail(message, pytrace=False)
    pytest.skip(message)


@pytest.fixture(scope="session")
def require_service() -> Callable[[str, str], NoReturn]:
    """Call it with a service's name and why it is missing."""
    return without


@pytest.fixture(params=databases.KINDS)
def database_kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Has the test run twice: on SQLite, then on PostgreSQL. What it opens by `database_url` is of this kind."""
    monkeypatch.setenv(databases.KIND, request.param)
    kind: str = request.param
    return kind


@pytest.fixture(autouse=True)
def _databases() -> Iterator[None]:
    yield
    databases.give_back()
