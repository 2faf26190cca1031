"""Failpoints: each stands where the list says, arming is exact, and a process dies where it was told to."""

import ast
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from shared.errors import ConfigurationError
from shared.failpoints import FAILPOINTS, arm, passing

ROOT = Path(__file__).parents[3]


def standing() -> dict[str, set[str]]:
    """Every call of `passing` in the product: the name, and the functions that it stands in."""
    found: dict[str, set[str]] = {}
    for path in (path for room in ("dripline", "services", "shared") for path in (ROOT / room).rglob("*.py")):
        for function in ast.walk(ast.parse(path.read_text())):
            if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            for call in ast.walk(function):
                if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "passing":
                    (name,) = call.args
                    assert isinstance(name, ast.Constant), f"{path}: a failpoint's name is written out"
                    found.setdefault(name.value, set()).add(f"{path.relative_to(ROOT)}:{function.name}")
    return found


@pytest.fixture(autouse=True)
def _disarmed():
    yield
    arm("")


def test_each_failpoint_stands_where_the_list_says_and_no_other_does():
    assert standing() == {name: {place} for name, place in FAILPOINTS.items()}


def test_each_commit_and_send_has_a_failpoint_on_both_sides():
    sides = {name.replace(".before_", ".").replace(".after_", ".") for name in FAILPOINTS}
    others = {"mailer.sending": "mailer.data", "mailer.data": "mailer.250", "mailer.250": "mailer.data", "webhook.post": "webhook.2xx"}
    others["webhook.2xx"] = "webhook.post"
    lonely = [side for side in sides if not {side.replace(".", ".before_", 1), side.replace(".", ".after_", 1)} <= FAILPOINTS.keys()]
    assert {others[side] for side in lonely} <= sides


@pytest.mark.parametrize(
    ("wishes", "said"),
    [
        ("mailer.after_251=kill", "there is no failpoint `mailer.after_251`"),
        ("mailer.after_250=explode", "can kill or stop, not `explode`"),
        ("mailer.after_250", "is not NAME=kill@3"),
        ("mailer.after_250=kill@0", "is not NAME=kill@3"),
    ],
)
def test_a_wish_that_means_nothing_is_refused(wishes: str, said: str):
    with pytest.raises(ConfigurationError, match=said):
        arm(wishes)


def test_it_strikes_at_the_passing_asked_for_and_only_once(monkeypatch: pytest.MonkeyPatch):
    sent: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "kill", lambda pid, number: sent.append((pid, number)))
    arm("outbox.before_append=stop@3, outbox.after_append=kill")
    for _ in range(2):
        passing("outbox.before_append")
    assert sent == []
    for _ in range(3):
        passing("outbox.before_append")
    assert sent == [(os.getpid(), signal.SIGSTOP)]


def test_arming_is_told_loudly_and_arming_nothing_not_at_all():
    with capture_logs() as logs:
        arm("mailer.after_250=kill")
        arm("")
    assert [(line["event"], line["log_level"]) for line in logs] == [("failpoints.armed", "critical")]


DIES = """
from shared.failpoints import arm, passing
arm("kafka.after_send=kill@2")
passing("kafka.after_send")
print("passed once", flush=True)
passing("kafka.after_send")
print("passed twice", flush=True)
"""


def test_a_process_dies_at_its_failpoint_as_by_kill_9():
    ended = subprocess.run([sys.executable, "-c", DIES], capture_output=True, text=True, check=False, cwd=ROOT)
    assert ended.returncode == -signal.SIGKILL
    assert ended.stdout.endswith("passed once\n")
