"""A command line in an empty folder, with an API to talk to."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from dripline.cli.main import app
from tests.unit.cli.api import Api, serving

Dripline = Callable[..., Result]


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No playbook, no data folder, no settings around."""
    for name in [name for name in os.environ if name.startswith("DRIPLINE_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def api() -> Iterator[Api]:
    with serving() as running:
        yield running


@pytest.fixture
def dripline(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Dripline:
    """Runs one command line; it reaches the test's API where the test has one."""
    if "api" in request.fixturenames:
        monkeypatch.setenv("DRIPLINE_URL", request.getfixturevalue("api").url)
        monkeypatch.setenv("DRIPLINE_API_KEY", "sk_test")

    def run(*words: str) -> Result:
        return CliRunner().invoke(app, list(words))

    return run


def document(result: Result) -> object:
    """The one JSON document of stdout."""
    return json.loads(result.stdout)
