"""Makes the environments of Segment's own clients under `.clients/`, each from its hash-pinned lock; does nothing where they stand already.

`make test` and CI run it before the tests; no test ever installs anything. It needs the standard library, and npm for those in JavaScript.
An environment is stamped with the hash of its lock when it is whole: without the stamp it is made anew.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
TARGET = HERE.parents[1] / ".clients"
PYTHONS = ("python-2.3.5", "python-2.4.0")
NODE = "node"
BROWSERS = ("browser-1.83.0", "browser-1.84.3")
NODE_FILES = ("package.json", "package-lock.json", ".npmrc")
SECONDS = 300


def stamp_of(name: str) -> str:
    """What the stamp of a whole environment says: the hash of all that it is made from."""
    files = ("requirements.txt",) if name in PYTHONS else NODE_FILES
    made_by = "" if name not in PYTHONS else f"{sys.version_info.major}.{sys.version_info.minor}"
    return hashlib.sha256(b"\0".join([made_by.encode(), *((HERE / name / file).read_bytes() for file in files)])).hexdigest()


def is_ready(name: str) -> bool:
    """Whether the environment stands as its lock says."""
    stamp = TARGET / name / "stamp"
    return stamp.is_file() and stamp.read_text() == stamp_of(name)


def _make_python(name: str, folder: Path) -> None:
    _run([sys.executable, "-m", "venv", str(folder)])
    python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    lock = str(HERE / name / "requirements.txt")
    _run([str(python), "-m", "pip", "install", "--quiet", "--require-hashes", "--only-binary", ":all:", "-r", lock])


def _make_node(name: str, folder: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise OSError("npm is not installed (Debian, Ubuntu: nodejs npm)")
    folder.mkdir(parents=True)
    for file in NODE_FILES:
        shutil.copy(HERE / name / file, folder)
    _run([npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel", "error"], folder)


def _run(command: list[str], folder: Path | None = None) -> None:
    subprocess.run(command, cwd=folder, check=True, timeout=SECONDS, stdin=subprocess.DEVNULL)


def prepare(name: str) -> bool:
    """Makes one environment where it is missing; says why where it cannot."""
    if is_ready(name):
        return True
    folder = TARGET / name
    shutil.rmtree(folder, ignore_errors=True)
    sys.stdout.write(f"Preparing Segment's client: {name}\n")
    try:
        (_make_python if name in PYTHONS else _make_node)(name, folder)
    except (OSError, subprocess.SubprocessError) as error:
        sys.stderr.write(f"{name}: {error}\n")
        return False
    (folder / "stamp").write_text(stamp_of(name))
    return True


if __name__ == "__main__":
    sys.exit(0 if all([prepare(name) for name in (*PYTHONS, NODE, *BROWSERS)]) else 1)
