"""Before the first event: makes .venv from the hash-locked requirements, then hands over to the command asked for.

    python3 deploy/bootstrap.py {setup,run,test,chaos,lint,types,bench,lock,release} [ARGS]

Standard library only. Any python3 from 3.8 on may start it; the environment is made with PYTHON=, or with the newest python3 on
PATH that is 3.11 or newer. The stamp in .venv is written last: an environment without it, or with another one, is made anew; with
the right one nothing is installed and nothing is asked of the network.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import NoReturn

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
VENV_PYTHON = VENV / "bin" / "python"
STAMP = VENV / ".stamp"

OLDEST = (3, 11)
NEWEST_WITH_WHEELS = (3, 14)  # past it some locked package would have to be compiled; such a Python is taken only if there is no other

ASK = """
import importlib.util, json, sys
base = getattr(sys, "_base_executable", None) or sys.executable
able = all(importlib.util.find_spec(name) for name in ("venv", "ensurepip"))
print(json.dumps([sys.version_info[:3], sys.version_info[3] == "final", able, base]))
"""


class Refusal(Exception):
    """It cannot go on; the text says why and what to do."""


class Python(NamedTuple):
    """An interpreter, as it described itself. `able`: it has what making an environment takes."""

    version: tuple[int, int, int]
    final: bool
    able: bool
    executable: str

    def __str__(self) -> str:
        return "Python {}.{}.{}".format(*self.version)


def say(text: str) -> None:
    print(text, flush=True)


def find_pythons(path: str) -> Iterator[str]:
    """Every python3 on this PATH, in its order, and the one that runs this."""
    names = re.compile(r"python3(\.\d+)?")
    for folder in path.split(os.pathsep):
        if folder and os.path.isdir(folder):
            yield from (os.path.join(folder, name) for name in sorted(os.listdir(folder)) if names.fullmatch(name))
    yield sys.executable


def ask(executable: str) -> Python | None:
    """What the interpreter says it is; None when it does not run (a shim of a version that is not installed)."""
    try:
        answer = subprocess.run([executable, "-I", "-c", ASK], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=30, check=True)
        version, final, able, base = json.loads(answer.stdout.decode("utf-8"))
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    return Python((version[0], version[1], version[2]), final, able, base)


def choose(found: list[Python]) -> Python:
    """The newest that can do it: those with wheels for everything first, then releases before previews."""
    new_enough = [python for python in found if python.version[:2] >= OLDEST]
    if not new_enough:
        seen = f"the newest here is {max(found)}" if found else "none is here"
        raise Refusal(f"Dripline needs Python 3.11 or newer; {seen}.\n{how_to_install()}")
    able = [python for python in new_enough if python.able]
    if not able:
        raise Refusal(how_to_enable(max(new_enough)))
    return max(able, key=lambda python: (python.version[:2] <= NEWEST_WITH_WHEELS, python.final, python.version))


def wished(wish: str) -> Python:
    """The Python that PYTHON= names."""
    python = ask(shutil.which(wish) or wish)
    if python is None or python.version[:2] < OLDEST:
        found = f"is {python}" if python else "does not run"
        raise Refusal(f"PYTHON={wish} {found}. Give the name or the path of a Python 3.11 or newer, or leave PYTHON out.")
    return choose([python])


def how_to_install() -> str:
    if sys.platform == "darwin":
        return "Install it: brew install python@3.13"
    if shutil.which("apt-get"):
        return "Install it: sudo apt install python3 python3-venv (from Debian 12, Ubuntu 24.04 on; before, pyenv and uv have it)"
    return "Install your system's package python3.13 or newer (Fedora: sudo dnf install python3.13), or name another by PYTHON="


def how_to_enable(python: Python) -> str:
    """What to do about a Python without venv or ensurepip: Debian and Ubuntu ship them in a package of their own."""
    remedy = "Install what your system calls python3-venv, or name another Python by PYTHON=,"
    if shutil.which("apt-get") and python.executable.startswith("/usr/bin/"):
        remedy = "Install it: sudo apt install python{}.{}-venv,".format(*python.version)
    return f"{python} ({python.executable}) cannot make environments: it lacks venv or ensurepip.\n{remedy} and run the same command again."


def ensure(lock: str) -> None:
    """Make .venv hold this lock; of two at once the second waits, and then finds it done."""
    if is_ready(lock):
        return
    with alone():
        if not is_ready(lock):
            build(lock)


def is_ready(lock: str) -> bool:
    stamp = read_stamp()
    return stamp is not None and holds(stamp, lock) and stamp.get("project") == digest(ROOT / "pyproject.toml")


def read_stamp() -> dict[str, Any] | None:
    """The stamp of an environment that was finished, here, with the wished Python, and from the locks as they are now; else None."""
    try:
        stamp: dict[str, Any] = json.loads(STAMP.read_text(encoding="utf-8"))
        fresh = all(digest(lock_file(name)) == seen for name, seen in stamp["locks"].items())
    except (OSError, ValueError, LookupError, TypeError):
        return None
    wish = os.environ.get("PYTHON")
    sound = fresh and stamp.get("root") == str(ROOT) and VENV_PYTHON.exists()
    return stamp if sound and (not wish or os.path.realpath(wished(wish).executable) == stamp.get("python")) else None


def holds(stamp: dict[str, Any], lock: str) -> bool:
    """Every lock holds what `run` holds, in the same versions."""
    return lock in stamp["locks"] or (lock == "run" and bool(stamp["locks"]))


def build(lock: str) -> None:
    """Bring .venv to this lock: from nothing, or on top of a sound one. The stamp goes first and comes back last."""
    stamp = read_stamp()
    if STAMP.exists():
        STAMP.unlink()
    if stamp is None:
        stamp = {"root": str(ROOT), "python": create(), "locks": {}}
    if not holds(stamp, lock):
        install(lock)
        stamp["locks"][lock] = digest(lock_file(lock))
    link()
    stamp["project"] = digest(ROOT / "pyproject.toml")
    STAMP.write_text(json.dumps(stamp, indent=1) + "\n", encoding="utf-8")


def create() -> str:
    wish = os.environ.get("PYTHON")
    python = wished(wish) if wish else choose([python for python in map(ask, find_pythons(os.environ.get("PATH", ""))) if python])
    say(f"Making .venv with {python} ({python.executable})")
    if VENV.exists():
        shutil.rmtree(str(VENV))
    if call([python.executable, "-I", "-m", "venv", str(VENV)]) or not VENV_PYTHON.exists():
        raise Refusal(f"The environment was not made; what Python said stands above. If it speaks of ensurepip:\n{how_to_enable(python)}")
    return os.path.realpath(python.executable)


def install(lock: str) -> None:
    packages = len(re.findall(r"^\w[\w.-]*==", lock_file(lock).read_text(encoding="utf-8"), re.MULTILINE))
    say(f"Installing {packages} packages from locks/{lock}.txt, each checked against its hash")
    if pip("install", "--require-hashes", "--requirement", f"locks/{lock}.txt"):
        raise Refusal(
            "pip could not install the lock; what it said stands above.\n"
            "- No connection, or a damaged .venv: run the same command again; it starts over.\n"
            "- A package is built from source and fails: there is no wheel of it for this Python here; name another, as PYTHON=python3.13\n"
            "- Hashes do not match: what was served is not what was locked. Do not go on; look at the index or proxy that pip uses."
        )


def link() -> None:
    say("Linking this checkout into .venv")
    if pip("install", "--quiet", "--no-index", "--no-deps", "--no-build-isolation", "--editable", str(ROOT)):
        raise Refusal("pip could not link this checkout; what it said stands above. The same command starts over.")


def pip(*arguments: str) -> int:
    return call([str(VENV_PYTHON), "-I", "-m", "pip", "--no-input", "--disable-pip-version-check", *arguments])


def call(command: list[str]) -> int:
    """Run a phase's program. It inherits the lock (`close_fds`): should we be killed, nobody else starts before it has ended."""
    elsewhere = {"PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "__PYVENV_LAUNCHER__"}
    environment = {name: value for name, value in os.environ.items() if name not in elsewhere}
    return subprocess.call(command, cwd=str(ROOT), env=dict(environment, PIP_USER="0"), close_fds=False)


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def lock_file(name: str) -> Path:
    return ROOT / "locks" / f"{name}.txt"


@contextmanager
def alone() -> Iterator[None]:
    """Hold .venv.lock; the system lets go of it when its last holder ends, however it ends."""
    import fcntl  # not on Windows, which `main` turns away in words

    held = os.open(str(ROOT / ".venv.lock"), os.O_RDWR | os.O_CREAT, 0o644)
    os.set_inheritable(held, True)
    try:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("Another bootstrap is at work on .venv; waiting for it.")
            fcntl.flock(held, fcntl.LOCK_EX)
        yield
    finally:
        os.close(held)


def run(arguments: list[str]) -> NoReturn:
    """The whole product on the starter playbook, unless another is named. Paths in ARGS are the caller's: the folder is not changed."""
    ensure("run")
    named = "DRIPLINE_PLAYBOOK" in os.environ or any(word.split("=")[0] == "--playbook" for word in arguments)
    starter = ROOT / "playbooks" / "starter"
    short = os.path.relpath(str(starter)) if Path.cwd() == ROOT else str(starter)
    hand_over(["-P", "-m", "dripline", "run", *([] if named else ["--playbook", short]), *arguments])


def test(arguments: list[str]) -> NoReturn:
    """Every test this machine can run; pytest ends by saying what was skipped and why."""
    ensure("dev")
    prepare = ROOT / "tests" / "clients" / "prepare.py"
    if prepare.exists() and python_of_ours([str(prepare)]):
        say("The official clients could not be prepared: the tests that need them will say so.")
    hand_over_here(["-m", "pytest", "-rs", *arguments])


def chaos(arguments: list[str]) -> NoReturn:
    """A thousand kills over `serve` on real servers, and the report."""
    ensure("dev")
    hand_over_here(["-m", "tests.chaos", *arguments])


def lint(arguments: list[str]) -> int:
    ensure("dev")
    checks = [["-m", "ruff", "check", *arguments], ["-m", "ruff", "format", "--check", *arguments], [".venv/bin/lint-imports", "--no-logo"]]
    return max([python_of_ours(check) for check in checks])


def types(arguments: list[str]) -> NoReturn:
    ensure("dev")
    hand_over_here(["-m", "mypy", *arguments])


def bench(arguments: list[str]) -> NoReturn:
    ensure("bench")
    hand_over_here(["-m", "bench", *arguments])


def lock(arguments: list[str]) -> int:
    """Write the three locks anew. Versions stay unless `--upgrade` or `--upgrade-package NAME` is among the arguments."""
    ensure("dev")
    compile_ = ["-m", "uv", "pip", "compile", "--universal", "--python-version", "3.11", "--generate-hashes", "--no-header", "--quiet"]
    compile_ += ["--no-emit-index-url", "--no-emit-find-links", "--group", "build", "pyproject.toml", *arguments]
    for name, more in LOCKS:
        if python_of_ours([*compile_, *more, "--output-file", f"locks/{name}.txt"]):
            return 1
    return 0


LOCKS: tuple[tuple[str, list[str]], ...] = (  # each is held to the versions of the one before: any two may share .venv
    ("run", []),
    ("dev", ["--group", "dev", "--constraint", "locks/run.txt"]),
    ("bench", ["--group", "bench", "--constraint", "locks/dev.txt"]),
)


def release(arguments: list[str]) -> NoReturn:
    ensure("run")
    hand_over_here(["-m", "hatchling", "build", "--target", "wheel", "--directory", "dist", *arguments])


def setup(arguments: list[str]) -> int:
    ensure("dev")
    say("Ready: .venv holds what running, testing and checking take.")
    return 0


def python_of_ours(arguments: list[str]) -> int:
    return subprocess.call([str(VENV_PYTHON), *arguments], cwd=str(ROOT))


def hand_over_here(arguments: list[str]) -> NoReturn:
    os.chdir(str(ROOT))
    hand_over(arguments)


def hand_over(arguments: list[str]) -> NoReturn:
    """Become that command: its signals and its exit code are its own."""
    sys.stdout.flush()
    os.execv(str(VENV_PYTHON), [str(VENV_PYTHON), *arguments])


def spare_loopback() -> None:
    """A proxy must not catch what we say to ourselves; and only this checkout's packages are to be found."""
    for name in ("NO_PROXY", "no_proxy"):
        spared = [host for host in os.environ.get(name, "").split(",") if host]
        os.environ[name] = ",".join([*spared, *(host for host in ("127.0.0.1", "localhost", "::1") if host not in spared)])
    for name in ("PYTHONPATH", "PYTHONHOME"):
        os.environ.pop(name, None)


COMMANDS = {
    "setup": setup,
    "run": run,
    "test": test,
    "chaos": chaos,
    "lint": lint,
    "types": types,
    "bench": bench,
    "lock": lock,
    "release": release,
}


def main(words: list[str]) -> int:
    """0 done, 1 the answer is no or it cannot be done here, 2 wrong use, 130 stopped by hand."""
    if not words or words[0] not in COMMANDS:
        print((__doc__ or "").strip(), file=sys.stderr)
        return 2
    if os.name == "nt":
        print("Dripline runs on Linux and macOS. On Windows it runs in WSL: `wsl --install`, and there the same command.", file=sys.stderr)
        return 1
    spare_loopback()
    try:
        return COMMANDS[words[0]](words[1:])
    except Refusal as refusal:
        print(f"\n{refusal}", file=sys.stderr)
    except OSError as error:
        print(f"\n.venv cannot be made here: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        print("\nStopped. The same command takes it up again.", file=sys.stderr)
        return 130
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
