"""How a command finds the API, and what it says where there is none."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.cli.api import Api, serving


def announce(folder: Path, url: str, pid: int) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "run.json").write_text(json.dumps({"url": url, "token": "sk_local", "pid": pid}))


def a_pid_that_has_ended() -> int:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    return ended.pid


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
        announce(empty_folder / ".dripline", api.url, os.getpid())
        assert dripline("keys", "list").exit_code == 0
        assert api.tokens == {"Bearer sk_local"}


def test_a_named_folder_goes_before_the_environment(api: Api, dripline, empty_folder: Path):
    with serving() as other:
        other.answers["GET", "/api/keys"] = {"items": [], "next": None}
        announce(empty_folder / "other", other.url, os.getpid())
        assert dripline("keys", "list", "--data", str(empty_folder / "other")).exit_code == 0
        assert other.asked
    assert not api.asked


def test_where_nothing_runs_and_nothing_is_kept_the_remedy_is_named(dripline):
    result = dripline("audit")
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "start `dripline run`" in result.stderr


def test_the_note_of_a_killed_run_is_not_believed(dripline, empty_folder: Path):
    announce(empty_folder / ".dripline", "http://127.0.0.1:1", a_pid_that_has_ended())
    result = dripline("audit")
    assert result.exit_code == 2
    assert "nothing runs here" in result.stderr


def test_a_server_that_does_not_answer_is_named(dripline, empty_folder: Path):
    announce(empty_folder / ".dripline", "http://127.0.0.1:1", os.getpid())
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
    ]
