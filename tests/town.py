"""Every service as processes of their own on real PostgreSQL and Kafka, several replicas of each: a town for end-to-end and chaos tests."""

import random
import socket
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.house import DRIPLINE, clean_environment, run_command

KEY = "sk_of_this_test_and_no_other"
SERVICES = ("console", "ingest", "scoring", "journeys", "mailer")
PORTS = (20_000, 32_000)
"""Below those that the system gives to outgoing calls: a port stays ours while its process is being started again."""


def quiet_port() -> int:
    """A free port that no outgoing call will take."""
    while True:
        port = random.randrange(*PORTS)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


@dataclass(frozen=True)
class Replica:
    """One process of a service; the name and the port stay its own over restarts."""

    service: str
    number: int
    port: int

    @property
    def name(self) -> str:
        return f"{self.service}-{self.number}"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


class Town:
    """Replicas of every service, each started, killed and started again by its name; the first console is the front."""

    def __init__(self, folder: Path, replicas: Mapping[str, int], **settings: str) -> None:
        """`settings` are those of `serve`, by their names in the environment: where the servers are, and what differs from here."""
        numbered = [(service, number) for service in SERVICES for number in range(1, replicas.get(service, 1) + 1)]
        self.replicas = {replica.name: replica for replica in (Replica(*each, quiet_port()) for each in numbered)}
        self.folder = folder
        self.url = self.replicas["console-1"].url
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._ours = {
            "DRIPLINE_KAFKA_PARTITIONS": "4",
            "DRIPLINE_SECRET_KEY": "the secret of this test, and of no other",
            "DRIPLINE_API_KEY": KEY,
            "DRIPLINE_CONSOLE_PASSWORD": "tea",
            "DRIPLINE_PUBLIC_URL": self.url,
            "DRIPLINE_ALLOW_PRIVATE_WEBHOOKS": "1",
            "DRIPLINE_DRAIN_SECONDS": "0",
            "SALES_WEBHOOK_SECRET": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            **settings,
        }

    def begin(self, name: str, **more: str) -> None:
        """Start a replica; `more` is its environment's beside what all have."""
        replica = self.replicas[name]
        with (self.folder / f"{name}.log").open("ab") as log:
            command = [*DRIPLINE, "serve", replica.service, "--port", str(replica.port)]
            environ = clean_environment(**self._ours, **self._neighbours(replica), **more)
            self.processes[name] = subprocess.Popen(command, env=environ, cwd=self.folder, stdout=log, stderr=log)

    def _neighbours(self, replica: Replica) -> dict[str, str]:
        """Where this one finds the others: each console asks the replicas of its own number."""
        found = {service: self.replicas.get(f"{service}-{replica.number}", self.replicas[f"{service}-1"]) for service in SERVICES[1:]}
        return {f"DRIPLINE_{service.upper()}_URL": other.url for service, other in found.items()}

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        """`dripline …` for this town."""
        return run_command(*words, cwd=self.folder, seconds=240, **self._ours, DRIPLINE_URL=self.url)

    def log_of(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def close(self) -> None:
        """Ask all to end, and wait for them; who does not end in time is killed, and said so."""
        for process in self.processes.values():
            if process.poll() is None:
                process.terminate()
        for name, process in self.processes.items():
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                raise AssertionError(f"{name} did not end within 20 s; its log ends with: {self.log_of(name)[-2000:]}") from None
