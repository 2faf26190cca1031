"""Where mail leaves the house, and how long we wait for it there."""

from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from shared.errors import ConfigurationError

LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


@dataclass(frozen=True, slots=True)
class Relay:
    """Where mail leaves the house: `DRIPLINE_SMTP_URL`, read."""

    host: str
    port: int
    tls: bool = False  # from the first byte (smtps); else STARTTLS where it is offered
    username: str | None = None
    password: str = field(default="", repr=False)

    @property
    def nearby(self) -> bool:
        """On this machine: nobody listens between."""
        return self.host in LOOPBACK

    @property
    def must_prove_its_name(self) -> bool:
        """Whoever gets our password must; without one, encryption is opportunistic (RFC 7435)."""
        return self.tls or self.username is not None


def parse_smtp_url(url: str) -> Relay:
    """Read `smtp://user:pass@host:587` or `smtps://host`. Raises ConfigurationError, which never repeats the password."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ConfigurationError("DRIPLINE_SMTP_URL has no valid host and port; write smtp://user:password@host:587") from error
    if parts.scheme not in ("smtp", "smtps") or not parts.hostname:
        raise ConfigurationError("DRIPLINE_SMTP_URL must look like smtp://user:password@host:587 or smtps://user:password@host")
    username = unquote(parts.username) if parts.username else None
    usual = 465 if parts.scheme == "smtps" else 587 if username else 25
    return Relay(parts.hostname, port or usual, parts.scheme == "smtps", username, unquote(parts.password or ""))


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds: for a connection with its login, one command, a whole offer, the answer to a mail, and until an idle line is given up."""

    connect: float = 20
    command: float = 30
    offer: float = 60
    answer: float = 300  # RFC 5321, 4.5.3.2.6, would allow ten minutes
    idle: float = 30
