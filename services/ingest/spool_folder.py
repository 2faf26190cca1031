"""The folder of ingest's spool: where it may lie, who works in it, and what is in it for a person who looks."""

import fcntl
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from shared.errors import ConfigurationError
from shared.frames import Frame
from shared.segments import DAMAGED, headers
from shared.telemetry import log as logger

IN_MEMORY = frozenset({"tmpfs", "ramfs"})
LOCK, TOPICS = "lock", "topics"


@dataclass(frozen=True, slots=True)
class Held:
    """What waits of one topic. A request's events are one record."""

    topic: str
    records: int
    size: int
    oldest_at: datetime | None


def locked(folder: Path) -> int:
    """The lock of a folder, made where it is not there; who closes it lets go. Raises ConfigurationError where another process has it."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise ConfigurationError(f"{folder}: the spool cannot be written ({error.strerror}); see DRIPLINE_SPOOL_DIR") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise ConfigurationError(
            f"{folder}: another process spools or drains here; each replica of ingest needs a DRIPLINE_SPOOL_DIR of its own"
        ) from None
    return lock


def filesystem_of(folder: Path) -> str:
    """The kind of file system that holds the folder, as Linux names it; empty where nobody says."""
    place = folder.absolute().resolve()
    with suppress(OSError):
        mounts = [line.split()[1:3] for line in Path("/proc/self/mounts").read_text().splitlines()]
        kinds: Mapping[Path, str] = {
            Path(point.replace("\\040", " ")): kind for point, kind in mounts
        }  # the newest mount of a place lies on top
        return next((kinds[parent] for parent in (place, *place.parents) if parent in kinds), "")
    return ""


def refuse_memory(folder: Path, filesystem: Callable[[Path], str] | None = None) -> None:
    """Raises ConfigurationError where the folder lies in memory: with the machine would go what was answered with 200."""
    kind = (filesystem or filesystem_of)(folder)
    if kind in IN_MEMORY:
        raise ConfigurationError(
            f"DRIPLINE_SPOOL_DIR={folder} lies in memory ({kind}) and would be lost with the machine; name a folder on a disk that stays, "
            "or leave it unset: then ingest says 503 while Kafka is away"
        )
    if kind == "overlay":
        logger.warning("spool.in_container", folder=str(folder), why="a container's own layer goes with the container: mount a volume")


def survey(folder: Path) -> tuple[list[Held], list[Path]]:
    """What lies in a folder, by topic, and its damaged files; only looks, so that a process may be working there meanwhile."""
    found = [_surveyed(topic) for topic in sorted((folder / TOPICS).iterdir())] if (folder / TOPICS).is_dir() else []
    return [held for held in found if held.records], sorted((folder / TOPICS).glob(f"*/*/*{DAMAGED}"))


def is_in_use(folder: Path) -> bool:
    """Whether a process works there."""
    try:
        with (folder / LOCK).open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _surveyed(topic: Path) -> Held:
    files = sorted(topic.glob("*/*.log"))
    frames = [frame for file in files for frame in _looked_at(file)]
    oldest = min((frame.at for frame in frames), default=None)
    return Held(topic.name, sum(frame.count for frame in frames), sum(frame.size for frame in frames), oldest)


def _looked_at(file: Path) -> list[Frame]:
    try:
        return list(headers(file))
    except FileNotFoundError:  # drained just now
        return []
