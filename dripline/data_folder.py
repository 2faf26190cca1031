"""The folder that holds everything one `dripline run` keeps: state, log, keys, mails; used by one process at a time."""

import base64
import fcntl
import json
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from shared.errors import ConfigurationError, Outage
from shared.segments import sync_folder

LAYOUT = 1
"""The version of this layout; a folder of a newer one is refused."""


class DataFolder:
    """Paths and small secrets in one folder; files that hold secrets are readable by their owner alone."""

    MOVED = "moved.json"
    """Where it says whither the folder moved, or is moving (see moving.py)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.state = path / "state.db"
        self.log = path / "log"
        self.mailbox = path / "mailbox"

    @property
    def database_url(self) -> str:
        return f"sqlite+aiosqlite:///{self.state.resolve()}"

    @contextmanager
    def locked(self, *, moving: bool = False) -> Iterator[None]:
        """Hold the folder for this process. Raises ConfigurationError where another has it, or it cannot be used.

        What has moved to servers lives there: only who is `moving` it may still have it.
        """
        with self._made().open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ConfigurationError(self._in_use()) from None
            self._check_layout()
            if not moving:
                self._check_not_moved()
            yield

    def secret(self, name: str, make: Callable[[], str] = lambda: secrets.token_urlsafe(32)) -> str:
        """The secret of this name, made once and kept."""
        path = self.path / name
        if not path.exists():
            self.write_private(name, make() + "\n")
        return path.read_text().strip()

    def secret_key(self) -> bytes:
        return self.secret("secret").encode()

    def write_key(self) -> str:
        return self.secret("write_key", lambda: "pk_" + secrets.token_urlsafe(24))

    def api_key(self) -> str:
        return self.secret("api_key", lambda: "sk_" + secrets.token_urlsafe(24))

    def webhook_secret(self) -> str:
        return self.secret("webhook_secret", lambda: "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode())

    def console_password(self) -> tuple[str, bool]:
        """The console's password, and whether it was made just now."""
        is_new = not (self.path / "console_password").exists()
        return self.secret("console_password", lambda: secrets.token_urlsafe(9)), is_new

    def write_private(self, name: str, text: str) -> None:
        """Write a file that only its owner reads, durably, whole or not at all. Raises Outage where the disk does not take it."""
        draft = self.path / f".{name}.new"
        try:
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "w") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            draft.rename(self.path / name)
            sync_folder(self.path)
        except OSError as error:
            raise Outage(f"{self.path / name}: cannot be written ({error.strerror})") from error

    def announce(self, url: str, token: str) -> None:
        """Tell commands on this machine where the running process answers."""
        self.write_private("run.json", json.dumps({"url": url, "token": token, "pid": os.getpid()}))

    def withdraw_announcement(self) -> None:
        (self.path / "run.json").unlink(missing_ok=True)

    def reserved_time(self) -> datetime | None:
        """The time that this folder's clock has not passed; None while it never ran ahead of the wall's."""
        path = self.path / "clock"
        return datetime.fromisoformat(path.read_text().strip()) if path.exists() else None

    def reserve_time(self, until: datetime) -> None:
        self.write_private("clock", until.isoformat())

    def _made(self) -> Path:
        """The lock file, in a folder that is there."""
        lock = self.path / "lock"
        try:
            self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
            lock.touch(mode=0o600)
        except OSError as error:
            raise ConfigurationError(f"{self.path}: cannot be written ({error.strerror}); choose another folder with --data") from error
        return lock

    def _check_layout(self) -> None:
        path = self.path / "layout"
        if not path.exists():
            self.write_private("layout", f"{LAYOUT}\n")
        found = int(path.read_text())
        if found > LAYOUT:
            raise ConfigurationError(
                f"{self.path}: layout {found} is of a newer Dripline, this one knows {LAYOUT}; update it, or choose another with --data"
            )

    def _check_not_moved(self) -> None:
        """Raises ConfigurationError where this folder is done, or may be: run again, it would send what is sent elsewhere."""
        path = self.path / self.MOVED
        if not path.exists():
            return
        note = json.loads(path.read_text())
        if note["state"] == "done":
            raise ConfigurationError(f"{self.path}: has moved to {note['to']}, which goes on from it; choose another folder with --data")
        if note["state"] == "ending":
            raise ConfigurationError(
                f"{self.path}: a move to {note['to']} broke off at its very end, and may be done; run the same `dripline migrate --from` "
                f"again, which ends it. Remove {path} only if nothing of it is to stay there"
            )

    def _in_use(self) -> str:
        announced = self.path / "run.json"
        url = json.loads(announced.read_text())["url"] if announced.exists() else "another process"
        return f"{self.path}: in use by {url}; stop it, or choose another folder with --data"
