"""How a command finds the API, and what it says where there is none."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dripline.data_folder import DataFolder
from tests.unit.cli.api import Api, serving


@contextmanager
def announced(folder: Path, url: str) -> Iterator[None]:
    """A `run` that holds the folder and says where it answers."""
    with DataFolder(folder).locked():
        DataFolder(folder).announce(url, "sk_local")
        yield


def test_the_address_and_the_key_come_from_the_environment(api: Api, dripline):
    api.answers["GET", "/api/keys"] = {"items": [], "next": None}
    assert dripline("keys", "list").exit_code == 0
    assert api.tokens == {"Bearer sk_test"}


def test_an_address_without_a_key_is_wrong_use(dripline, monkeypatch):
    monkeypatch.setenv("DRIPLINE_URL", "http://127.0.0.1:1")
    result = dripline("keys", "list")
    assert result.exit_code == 2
    assert result.stderr.startswith("error: DRIPLINE_URL is set, DRIPLINE_API_KEY is not")


def test_without_an_address_the_running_one_of_the_folder_is_asked(dripline, empty_folder: Path):
    with serving() as api:
        api.answers["GET", "/api/keys"] = {"items": [], "next": None}
        with announced(empty_folder / ".dripline", api.url):
            assert dripline("keys", "list").exit_code == 0
        assert api.tokens == {"Bearer sk_local"}


def test_a_named_folder_goes_before_the_environment(api: Api, dripline, empty_folder: Path):
    with serving() as other:
        other.answers["GET", "/api/keys"] = {"items": [], "next": None}
        with announced(empty_folder / "other", other.url):
            assert dripline("keys", "list", "--data", str(empty_folder / "other")).exit_code == 0
        assert other.asked
    assert not api.asked


def test_where_nothing_runs_and_nothing_is_kept_the_remedy_is_named(dripline):
    result = dripline("audit")
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "start `dripline run`" in result.stderr


def test_the_note_of_a_killed_run_is_not_believed_even_if_its_pid_lives_again(dripline, empty_folder: Path):
    with announced(empty_folder / ".dripline", "http://127.0.0.1:1"):
        pass
    result = dripline("audit")
    assert result.exit_code == 2
    assert "nothing runs here" in result.stderr


def test_a_server_that_does_not_answer_is_named(dripline, empty_folder: Path):
    with announced(empty_folder / ".dripline", "http://127.0.0.1:1"):
        result = dripline("audit")
    assert result.exit_code == 1
    assert result.stderr.startswith("error: http://127.0.0.1:1 does not answer")


def test_proxies_do_not_catch_this_machine(api: Api, dripline, monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    api.answers["GET", "/api/keys"] = {"items": [], "next": None}
    assert dripline("keys", "list").exit_code == 0


def test_a_refusal_is_told_in_the_servers_words(api: Api, dripline):
    api.answers["GET", "/api/keys"] = (403, {"code": "forbidden", "message": "a key of role sales may not do this"})
    result = dripline("keys", "list")
    assert (result.exit_code, result.stderr) == (1, "error: a key of role sales may not do this\n")


@pytest.mark.parametrize(
    "words", [(), ("deliveries",), ("nonsense",), ("run", "--speed", "0"), ("deliveries", "list", "--status", "lost"), ("lead",)]
)
def test_wrong_use_is_exit_2_and_stays_off_stdout(dripline, words):
    result = dripline(*words)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr


def test_only_what_works_is_offered(dripline):
    offered = [line.split()[0] for line in dripline("--help").stdout.partition("Commands:")[2].splitlines() if line.startswith("  ")]
    assert [name for name in offered if name[0].islower()] == [
        "run",
        "serve",
        "check",
        "publish",
        "lead",
        "export",
        "erase",
        "migrate",
        "audit",
        "import",
        "deliveries",
        "dead-letters",
        "keys",
        "positions",
        "spool",
    ]
