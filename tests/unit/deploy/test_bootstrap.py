"""Which Python is taken, and what a fresh, a half-made and a finished .venv lead to. The Pythons here are shell scripts."""

import ast
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from shutil import copy, copytree

import pytest

from deploy.bootstrap import Python, Refusal, choose, find_pythons

HOUSE = Path(__file__).resolve().parents[3]

PYTHON = """#!/bin/sh
for last; do :; done
case "$*" in
  *importlib.util*) echo '[[3, 14, 99], true, true, "'"$0"'"]' ;;
  *"-m venv"*) mkdir -p "$last/bin"; cp "{workshop}/inner" "$last/bin/python"; test ! -e "{workshop}/no-ensurepip" ;;
esac
"""

INNER = """#!/bin/sh
echo "$*" >> "{workshop}/log"
case "$*" in
  *pip*install*) if [ -e "{workshop}/gate" ]; then read line < "{workshop}/gate"; fi; test ! -e "{workshop}/no-network" ;;
  *dripline*) echo "NO_PROXY=$NO_PROXY PYTHONPATH=$PYTHONPATH" ;;
esac
"""


class Checkout:
    """A checkout under a path with a space, with Pythons that write down what they are asked."""

    def __init__(self, folder: Path) -> None:
        self.workshop = folder
        self.root = folder / "a checkout"
        for name in ("deploy", "locks", "playbooks/starter"):
            (self.root / name).mkdir(parents=True)
        copy(HOUSE / "deploy" / "bootstrap.py", self.root / "deploy")
        (self.root / "pyproject.toml").write_text("[project]\n")
        for lock in ("run", "dev", "bench"):
            (self.root / "locks" / f"{lock}.txt").write_text("one==1\n")
        self.python = self._script("bin/python3.14", PYTHON)
        self._script("inner", INNER)

    def _script(self, name: str, text: str) -> Path:
        path = self.workshop / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text.format(workshop=self.workshop))
        path.chmod(0o755)
        return path

    def start(self, *words: str, cwd: Path | None = None, **environment: str) -> subprocess.Popen[str]:
        path = f"{self.workshop}/bin{os.pathsep}/usr/bin{os.pathsep}/bin"
        return subprocess.Popen(
            [sys.executable, str(self.root / "deploy" / "bootstrap.py"), *words],
            cwd=cwd or self.root,
            env={"PATH": path} | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def call(self, *words: str, cwd: Path | None = None, **environment: str) -> tuple[int, str]:
        with self.start(*words, cwd=cwd, **environment) as process:
            said = process.communicate(timeout=60)[0]
        return process.returncode, said

    def asked(self) -> list[str]:
        """What .venv's Python was asked to do since the last look."""
        log = self.workshop / "log"
        lines = log.read_text().splitlines() if log.exists() else []
        log.unlink(missing_ok=True)
        return lines

    @property
    def stamp(self) -> Path:
        return self.root / ".venv" / ".stamp"


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


def pips(lines: Sequence[str]) -> list[str]:
    return [" ".join(word for word in ("locks", "editable") if word in line) for line in lines if "pip" in line]


def a_python(*version: int, final: bool = True, able: bool = True) -> Python:
    return Python((version[0], version[1], version[2]), final, able, f"/usr/bin/python{version[0]}.{version[1]}")


def test_the_newest_python_is_taken() -> None:
    assert choose([a_python(3, 11, 9), a_python(3, 13, 1), a_python(3, 12, 4), a_python(3, 9, 1)]).version == (3, 13, 1)


def test_one_without_wheels_for_everything_is_taken_only_if_there_is_no_other() -> None:
    assert choose([a_python(3, 99, 0), a_python(3, 12, 0)]).version == (3, 12, 0)
    assert choose([a_python(3, 99, 0)]).version == (3, 99, 0)


def test_a_preview_is_taken_only_if_there_is_no_release() -> None:
    assert choose([a_python(3, 14, 0, final=False), a_python(3, 12, 0)]).version == (3, 12, 0)


def test_one_that_cannot_make_environments_is_passed_over() -> None:
    assert choose([a_python(3, 13, 0, able=False), a_python(3, 12, 0)]).version == (3, 12, 0)


def test_without_venv_anywhere_the_remedy_is_named() -> None:
    with pytest.raises(Refusal, match=r"Python 3\.13\.0 .* lacks venv or ensurepip.\nInstall .*venv"):
        choose([a_python(3, 13, 0, able=False), a_python(3, 9, 0)])


@pytest.mark.parametrize(("found", "seen"), [([a_python(3, 9, 1)], "the newest here is Python 3.9.1"), ([], "none is here")])
def test_without_a_new_enough_python_the_package_is_named(found: list[Python], seen: str) -> None:
    with pytest.raises(Refusal, match=rf"needs Python 3\.11 or newer; {seen}\.\nInstall "):
        choose(found)


def test_pythons_are_found_by_name_on_the_path(tmp_path: Path) -> None:
    for name in ("python3", "python3.12", "python3.12-config", "python3.13t", "pythonw"):
        (tmp_path / name).touch()
    found = list(find_pythons(os.pathsep.join(["", str(tmp_path / "gone"), str(tmp_path)])))
    assert found == [str(tmp_path / "python3"), str(tmp_path / "python3.12"), sys.executable]


def test_a_fresh_checkout_is_made_ready_and_run(checkout: Checkout) -> None:
    code, said = checkout.call("run", "--port", "9000")
    assert code == 0, said
    assert f"Making .venv with Python 3.14.99 ({checkout.python})" in said
    lines = checkout.asked()
    assert pips(lines) == ["locks", "editable"]
    assert "--require-hashes --requirement locks/run.txt" in lines[0]
    assert lines[-1] == "-P -m dripline run --playbook playbooks/starter --port 9000"


def test_a_finished_environment_is_asked_for_nothing_but_the_command(checkout: Checkout) -> None:
    checkout.call("run")
    checkout.asked()
    (checkout.workshop / "no-network").touch()
    assert checkout.call("run")[0] == 0
    assert checkout.asked() == ["-P -m dripline run --playbook playbooks/starter"]


def test_from_another_folder_paths_are_the_callers(checkout: Checkout, tmp_path: Path) -> None:
    checkout.call("run", "--data", "mine", cwd=tmp_path)
    assert checkout.asked()[-1] == f"-P -m dripline run --playbook {checkout.root}/playbooks/starter --data mine"


@pytest.mark.parametrize(
    ("words", "environment"),
    [(["--playbook", "x"], {}), (["--playbook=x"], {}), ([], {"DRIPLINE_PLAYBOOK": "x"})],
    ids=["two words", "one", "set"],
)
def test_a_named_playbook_replaces_the_starter(checkout: Checkout, words: list[str], environment: dict[str, str]) -> None:
    checkout.call("run", *words, **environment)
    assert checkout.asked()[-1].split() == ["-P", "-m", "dripline", "run", *words]


def test_a_proxy_and_a_foreign_path_do_not_reach_the_command(checkout: Checkout) -> None:
    said = checkout.call("run", NO_PROXY="intranet", PYTHONPATH="/elsewhere")[1]
    assert said.endswith("NO_PROXY=intranet,127.0.0.1,localhost,::1 PYTHONPATH=\n")


def test_a_failed_install_leaves_no_stamp_and_the_next_call_starts_over(checkout: Checkout) -> None:
    (checkout.workshop / "no-network").touch()
    code, said = checkout.call("run")
    assert code == 1
    assert "pip could not install the lock" in said
    assert not checkout.stamp.exists()
    (checkout.workshop / "no-network").unlink()
    checkout.asked()
    assert "Making .venv" in checkout.call("run")[1]
    assert pips(checkout.asked()) == ["locks", "editable"]


def test_a_half_made_environment_names_the_remedy_and_is_made_anew_after_it(checkout: Checkout) -> None:
    (checkout.workshop / "no-ensurepip").touch()
    code, said = checkout.call("run")
    assert code == 1
    assert "python3-venv" in said
    (checkout.workshop / "no-ensurepip").unlink()
    assert checkout.call("run")[0] == 0
    assert checkout.stamp.exists()


def test_the_tools_are_added_to_what_runs_and_running_then_needs_nothing(checkout: Checkout) -> None:
    checkout.call("run")
    checkout.asked()
    code, said = checkout.call("setup")
    assert (code, "Making" in said) == (0, False)
    assert pips(checkout.asked()) == ["locks", "editable"]
    checkout.call("run")
    assert pips(checkout.asked()) == []


@pytest.mark.parametrize("command", ["setup", "bench"])
def test_what_holds_more_than_run_is_enough_to_run(checkout: Checkout, command: str) -> None:
    checkout.call(command)
    checkout.asked()
    checkout.call("run")
    assert pips(checkout.asked()) == []


def test_a_changed_lock_starts_over(checkout: Checkout) -> None:
    checkout.call("run")
    (checkout.root / "locks" / "run.txt").write_text("one==2\n")
    assert "Making .venv" in checkout.call("run")[1]


def test_a_changed_pyproject_is_only_linked_again(checkout: Checkout) -> None:
    checkout.call("run")
    checkout.asked()
    (checkout.root / "pyproject.toml").write_text("[project]\nversion = '2'\n")
    checkout.call("run")
    assert pips(checkout.asked()) == ["editable"]


@pytest.mark.parametrize("stamp", ["", "[1]", "{}", '{"locks": {"gone": ""}}', '{"locks": {}}', "null"])
def test_a_stamp_that_says_nothing_starts_over(checkout: Checkout, stamp: str) -> None:
    checkout.call("run")
    checkout.stamp.write_text(stamp)
    assert "Making .venv" in checkout.call("run")[1]


def test_a_moved_checkout_starts_over(checkout: Checkout) -> None:
    checkout.call("run")
    copytree(checkout.root, checkout.workshop / "moved")
    checkout.root = checkout.workshop / "moved"
    assert "Making .venv" in checkout.call("run")[1]
    assert json.loads(checkout.stamp.read_text())["root"] == str(checkout.root)


def test_a_wished_python_is_taken_and_another_wish_starts_over(checkout: Checkout) -> None:
    other = checkout.workshop / "other"
    copy(checkout.python, other)
    checkout.call("run")
    assert f"({other})" in checkout.call("run", PYTHON=str(other))[1]
    assert "Making" not in checkout.call("run", PYTHON=str(other))[1]


def test_a_wish_that_does_not_run_is_refused(checkout: Checkout) -> None:
    code, said = checkout.call("run", PYTHON="python3.nonesuch")
    assert code == 1
    assert "PYTHON=python3.nonesuch does not run" in said


def test_of_two_at_once_the_second_waits_and_finds_it_done(checkout: Checkout) -> None:
    gate = checkout.workshop / "gate"
    os.mkfifo(gate)
    with checkout.start("run") as first, gate.open("w") as opened, checkout.start("run") as second:  # opening waits for the first one's pip
        assert second.stdout
        assert second.stdout.readline() == "Another bootstrap is at work on .venv; waiting for it.\n"
        gate.unlink()
        opened.write("go on\n")
        opened.flush()
        said = second.communicate(timeout=60)[0] + first.communicate(timeout=60)[0]
    assert first.returncode == second.returncode == 0, said
    assert pips(checkout.asked()) == ["locks", "editable"]


@pytest.mark.parametrize("words", [[], ["nonsense"]])
def test_wrong_use_says_what_there_is(checkout: Checkout, words: list[str]) -> None:
    code, said = checkout.call(*words)
    assert code == 2
    assert "{setup,run,test,chaos,lint,types,bench,lock,release}" in said


def test_it_can_be_read_by_an_old_python() -> None:
    ast.parse((HOUSE / "deploy" / "bootstrap.py").read_text(), feature_version=(3, 8))
