"""`dripline run` as a real process on a free port of this machine, and the command beside it."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import httpx

from dripline.data_folder import DataFolder
from shared.clock import real_now

CHECKOUT = Path(__file__).resolve().parents[2]
STARTER = CHECKOUT / "playbooks" / "starter"
T = TypeVar("T")
DRIPLINE = (sys.executable, "-m", "dripline")


def clean_environment(**more: str) -> dict[str, str]:
    """This environment without what would lead Dripline elsewhere."""
    ours = ("DRIPLINE_", "SALES_WEBHOOK_", "SHOP_URL")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return kept | {"PYTHONPATH": str(CHECKOUT), "http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"} | more


def until(ask: Callable[[], T], seconds: float = 20.0, pause: float = 0.05) -> T:
    """Ask until the answer is true, and answer it."""
    deadline = time.monotonic() + seconds
    while True:
        found = ask()
        if found or time.monotonic() > deadline:
            assert found, f"not within {seconds} s"
            return found
        time.sleep(pause)


def zone_at(hour: int) -> str:
    """A time zone in which that hour of the day has begun. The signs of these zones are turned round: Etc/GMT-3 is east of Greenwich."""
    east = (hour - real_now().hour + 11) % 24 - 11
    return f"Etc/GMT{-east:+d}"


class House:
    """One data folder and the process that runs on it; `port` stays the same over restarts."""

    def __init__(self, folder: Path, playbook: Path = STARTER, *options: str, environ: Mapping[str, str] | None = None) -> None:
        self.data = folder / "data"
        self.playbook = playbook
        self.port = 0
        self.url = ""
        self.secret_key = ""
        self._folder = folder
        self._options = options
        self._environ = clean_environment(**(environ or {}))
        self._process: subprocess.Popen[bytes] | None = None
        self.http = httpx.Client(trust_env=False, timeout=10)

    def start(self, *options: str) -> None:
        """On return it answers."""
        place = ["--playbook", str(self.playbook), "--data", str(self.data), "--port", str(self.port)]
        with (self._folder / "out").open("ab") as out, (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*DRIPLINE, "run", *place, *(options or self._options)], env=self._environ, cwd=self._folder, stdout=out, stderr=log
            )
        said = until(self._announced, 30)
        self.url = said["url"]
        self.port = int(self.url.rpartition(":")[2])
        self.secret_key = (self.data / "api_key").read_text().strip()
        until(lambda: self.http.get(f"{self.url}/readyz").status_code == 200)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Ask it to end; answers its exit code."""
        assert self._process is not None
        self._process.send_signal(number)
        return self._process.wait(20)

    def later(self, by: timedelta) -> None:
        """Stop, and go on so much later by the folder's clock."""
        assert self.stop() == 0
        folder = DataFolder(self.data)
        folder.reserve_time(max(folder.reserved_time() or real_now(), real_now()) + by)
        self.start()

    def close(self) -> None:
        self.http.close()
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def said(self) -> str:
        return (self._folder / "out").read_text()

    @property
    def log(self) -> str:
        return re.sub(r"\x1b\[[0-9;]*m", "", (self._folder / "log").read_text())

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        """`dripline …` beside it, on the same data folder."""
        return run_command(*words, "--data", str(self.data), cwd=self._folder)

    def told(self, *words: str, code: int = 0) -> Any:
        """The one JSON document of a command."""
        ended = self.command(*words, "--format", "json")
        assert ended.returncode == code, ended.stderr
        return json.loads(ended.stdout)

    def track(self, path: str, body: Mapping[str, Any]) -> httpx.Response:
        return self.http.post(f"{self.url}/v1/{path}", json=body, auth=(self.secret_key, ""))

    def event(self, user: str, name: str, **properties: Any) -> None:
        answer = self.track("track", {"userId": user, "event": name, "properties": properties})
        assert (answer.status_code, answer.text) == (200, '{"success":true}')

    def reader(self, user: str, **traits: Any) -> None:
        """A lead who agreed to be mailed, and for whom it is day: no quiet hours hold his mails."""
        known = {"email": f"{user}@example.com", "consent": True, "timezone": zone_at(12)}
        answer = self.track("identify", {"userId": user, "traits": known | traits})
        assert answer.status_code == 200

    def get(self, path: str, **params: Any) -> Any:
        answer = self.http.get(f"{self.url}{path}", params=params, headers={"Authorization": f"Bearer {self.secret_key}"})
        assert answer.status_code == 200, answer.text
        return answer.json()

    def lead(self, user: str) -> dict[str, Any] | None:
        items = self.get("/api/leads", user_id=user)["items"]
        return items[0] if items else None

    def deliveries(self, user: str, **params: Any) -> list[dict[str, Any]]:
        lead = self.lead(user)
        return self.get("/api/deliveries", lead_id=lead["id"], **params)["items"] if lead else []

    def mails(self, user: str) -> list[bytes]:
        """What the mailbox holds for this user, oldest first."""
        sources = [path.read_bytes() for path in sorted((self.data / "mailbox").glob("*.eml"))]
        return [source for source in sources if f"Delivered-To: {user}@example.com".encode() in source]

    def _announced(self) -> dict[str, Any] | None:
        assert self._process is not None
        assert self._process.poll() is None, self.log[-3000:]
        try:
            said: dict[str, Any] = json.loads((self.data / "run.json").read_text())
        except FileNotFoundError:
            return None
        return said if said["pid"] == self._process.pid else None


def run_command(*words: str, cwd: Path, seconds: float = 60, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*DRIPLINE, *words], env=clean_environment(**environ), cwd=cwd, capture_output=True, text=True, timeout=seconds, check=False
    )
