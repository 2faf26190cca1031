"""Where Kafka is and how one may talk to it; and the thread on which all of that talking happens.

aiokafka's heartbeats share the event loop they run on, and a batch that folds for a second must not cost a consumer its partitions: so
Kafka gets a loop of its own, on a thread of its own, and everything else hands over to it.
"""

import asyncio
import ssl
import threading
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from shared.errors import ConfigurationError

Protocol = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]
Mechanism = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]

LARGEST_RECORD = 8 << 20
"""Bytes of one record; the topics are made to take it (kafka_topics.py)."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """A Kafka cluster, the prefix of our topics and groups on it, and the patience we have with it.

    `instance` names this process in its groups (static membership): restarted within the session it gets its partitions back at once.
    """

    bootstrap: str
    prefix: str = "dripline"
    instance: str | None = None
    protocol: Protocol = "PLAINTEXT"
    mechanism: Mechanism = "PLAIN"
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    request_seconds: float = 10.0
    session_seconds: float = 20.0
    stuck_seconds: float = 60.0  # without progress though there is more, before a consumer counts as stuck

    def topic(self, name: str) -> str:
        return f"{self.prefix}.{name}"

    def __post_init__(self) -> None:
        """Refuse half a setting, and one without effect: nobody is to believe that a line is closed which is open."""
        files = {"CA_FILE": self.ca_file, "CERT_FILE": self.cert_file, "KEY_FILE": self.key_file}
        _refuse(self._is_tls, files, "only with DRIPLINE_KAFKA_SECURITY_PROTOCOL=SSL or SASL_SSL", needed=())
        account = {"SASL_USERNAME": self.username, "SASL_PASSWORD": self.password}
        _refuse(self._is_sasl, account, "only with DRIPLINE_KAFKA_SECURITY_PROTOCOL=SASL_SSL or SASL_PLAINTEXT", needed=tuple(account))
        if self.key_file and not self.cert_file:
            raise ConfigurationError("DRIPLINE_KAFKA_KEY_FILE is of use only with its certificate: set DRIPLINE_KAFKA_CERT_FILE too")

    @property
    def _is_tls(self) -> bool:
        return self.protocol in ("SSL", "SASL_SSL")

    @property
    def _is_sasl(self) -> bool:
        return self.protocol in ("SASL_PLAINTEXT", "SASL_SSL")

    def options(self) -> dict[str, Any]:
        """What every client of aiokafka takes. Raises ConfigurationError where a certificate cannot be read."""
        options: dict[str, Any] = {
            "bootstrap_servers": self.bootstrap,
            "client_id": self.instance or self.prefix,
            "request_timeout_ms": int(self.request_seconds * 1000),
            "security_protocol": self.protocol,
        }
        if self._is_tls:
            options["ssl_context"] = self._tls()
        if self._is_sasl:
            options |= {"sasl_mechanism": self.mechanism, "sasl_plain_username": self.username, "sasl_plain_password": self.password}
        return options

    def _tls(self) -> ssl.SSLContext:
        try:
            context = ssl.create_default_context(cafile=self.ca_file)
        except OSError as error:
            raise ConfigurationError(f"DRIPLINE_KAFKA_CA_FILE: {self.ca_file} holds no certificate, or cannot be read: {error}") from error
        if self.cert_file:
            try:
                context.load_cert_chain(self.cert_file, self.key_file, lambda: "")
            except OSError as error:
                names = "DRIPLINE_KAFKA_CERT_FILE and DRIPLINE_KAFKA_KEY_FILE"
                told = f"{self.cert_file} and {self.key_file or 'the key in it'} are no pair of PEM files, without a passphrase"
                raise ConfigurationError(f"{names}: {told}: {error}") from error
        return context


def _refuse(is_used: bool, settings: dict[str, str | None], only: str, needed: tuple[str, ...]) -> None:
    idle = [f"DRIPLINE_KAFKA_{name}" for name, value in settings.items() if value and not is_used]
    if idle:
        raise ConfigurationError(f"{' and '.join(idle)} would have no effect: {only}")
    missing = [f"DRIPLINE_KAFKA_{name}" for name in needed if is_used and not settings[name]]
    if missing:
        raise ConfigurationError(f"{' and '.join(missing)} must be set: DRIPLINE_KAFKA_SECURITY_PROTOCOL asks for an account")


T = TypeVar("T")


class LoopThread:
    """An event loop on a thread of its own; other loops hand coroutines over and wait for what they bring."""

    def __init__(self, name: str) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run the coroutine there and wait for it here; cancelling the wait cancels it."""
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self.loop))

    def close(self) -> None:
        """End the loop and its thread; whatever still runs there is cancelled."""
        if self._thread.is_alive():
            self.loop.call_soon_threadsafe(self.loop.stop)
            self._thread.join()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_forever()
        finally:
            left = asyncio.all_tasks(self.loop)
            for task in left:
                task.cancel()
            self.loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
            self.loop.run_until_complete(self.loop.shutdown_asyncgens())
            self.loop.close()
