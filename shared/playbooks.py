"""Published playbooks: whole folders, stored by the hash of their content; the one published last is in force."""

import hashlib
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec
from sqlalchemy import select
from sqlmodel import col

from shared.clock import Clock
from shared.db import Database, upsert
from shared.errors import ConfigurationError
from shared.tables import PlaybookRow

SUFFIXES = frozenset({".yaml", ".yml", ".html", ".md", ".mjml", ".txt"})
LARGEST_FILE = 1 << 20
FRESH_SECONDS = 5.0
"""How long another process's publication may go unnoticed."""

_pack = msgspec.msgpack.Encoder(order="sorted").encode
_unpack = msgspec.msgpack.Decoder(dict[str, bytes]).decode


@dataclass(frozen=True, slots=True)
class Playbook:
    """A folder's files by their path in it (`journeys/welcome.yaml`), named by the hash of their content."""

    version: str
    files: Mapping[str, bytes]


def playbook_of(files: Mapping[str, bytes]) -> Playbook:
    return Playbook(hashlib.sha256(_pack(dict(files))).hexdigest()[:16], dict(files))


def read_folder(folder: Path) -> Playbook:
    """Read a playbook from disk: its YAML and templates, nothing hidden, nothing outside it. Raises ConfigurationError."""
    if not (folder / "playbook.yaml").is_file():
        raise ConfigurationError(f"{folder}: no playbook.yaml here; name the folder that holds one, or start from playbooks/starter")
    try:
        return playbook_of({path.relative_to(folder).as_posix(): _read_file(path, folder) for path in _files(folder)})
    except OSError as error:
        raise ConfigurationError(f"{error.filename}: cannot be read ({error.strerror})") from error


def _files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if not hidden and path.suffix in SUFFIXES and not path.is_dir():
            yield path


def _read_file(path: Path, folder: Path) -> bytes:
    if path.is_symlink() and not path.resolve().is_relative_to(folder.resolve()):
        raise ConfigurationError(f"{path}: a link that leads out of the playbook; put the file itself here")
    if path.stat().st_size > LARGEST_FILE:
        raise ConfigurationError(f"{path}: larger than {LARGEST_FILE >> 20} MiB; a playbook holds text")
    return path.read_bytes()


class Playbooks:
    """The store of published playbooks, with what was read kept in memory."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._known: dict[str, Playbook] = {}
        self._newest: str | None = None
        self._looked_at = float("-inf")
        self._begun = self._ended = 0  # publications: who looks while one is under way may see what was before it

    async def publish(self, playbook: Playbook) -> None:
        """Store the playbook and put it in force; publishing the same content again changes only that it is the newest."""
        row = {"version": playbook.version, "files": _pack(dict(playbook.files)), "published_at": self._clock.now()}
        self._begun += 1
        self._looked_at = float("-inf")
        try:
            async with self._database.transaction() as connection:
                await upsert(connection, PlaybookRow.__table__, [row], ["version"])  # type: ignore[attr-defined]
        finally:
            self._ended += 1

    async def newest(self) -> Playbook:
        """The playbook in force. Raises ConfigurationError where none was ever published."""
        version = self._newest
        if time.monotonic() - self._looked_at > FRESH_SECONDS:
            ended = self._ended
            async with self._database.reading() as connection:
                found = await connection.execute(
                    select(col(PlaybookRow.version)).order_by(col(PlaybookRow.published_at).desc(), col(PlaybookRow.version)).limit(1)
                )
                version = found.scalar_one_or_none()
            if self._begun == ended and version is not None:  # the first is waited for by all: nobody waits longer than he must
                self._newest, self._looked_at = version, time.monotonic()
        if version is None:
            raise ConfigurationError("no playbook was published yet; `dripline publish DIR` or `dripline run --playbook DIR` publishes one")
        return await self.get(version)

    async def get(self, version: str) -> Playbook:
        """A published playbook by its version. Raises ConfigurationError where there is none."""
        if version not in self._known:
            async with self._database.reading() as connection:
                found = await connection.execute(select(col(PlaybookRow.files)).where(col(PlaybookRow.version) == version))
                files = found.scalar_one_or_none()
            if files is None:
                raise ConfigurationError(f"playbook {version} is not in the store")
            self._known[version] = Playbook(version, _unpack(files))
        return self._known[version]
