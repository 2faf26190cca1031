"""How one attempt at one delivery can end: what transports answer, and the ledger writes down."""

from dataclasses import dataclass
from datetime import timedelta

LONGEST_DETAIL = 500


def plain(text: str) -> str:
    """Words from outside (a relay's reply, an endpoint's answer, an error), fit to be kept: one line, shortened, only what can be printed.

    Whatever else stood there, undecodable bytes included, is a replacement character each.
    """
    line = " ".join(text.split())[:LONGEST_DETAIL]
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in line)


class _Told:
    """An outcome with `detail`: what was said about it outside, made plain here so that every outcome can be written down."""

    __slots__ = ()
    detail: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "detail", plain(self.detail))


@dataclass(frozen=True, slots=True)
class Delivered(_Told):
    """The relay or the endpoint took it (2xx)."""

    detail: str = ""


@dataclass(frozen=True, slots=True)
class Deferred(_Told):
    """Not now (4xx, a timeout, a connection lost before anything could be accepted): the retry schedule goes on.

    `retry_after` is the least to wait. `ours` as in Refused. `unanswered` says that the relay fell silent or hung up.
    """

    reason: str
    retry_after: timedelta | None = None
    detail: str = ""
    ours: bool = False
    unanswered: bool = False


@dataclass(frozen=True, slots=True)
class Refused(_Told):
    """Never: this delivery has failed. `dead_address` says that nobody lives there (5.1.x), so the address is suppressed.

    `ours` says that the relay objects to us or to what we wrote, not to the recipient: an alarm, and never a suppression.
    """

    reason: str
    dead_address: bool = False
    ours: bool = False
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Held(_Told):
    """The relay as a whole does not answer, or does not take us (refused connection, 421, login): all its mail waits.

    It says nothing about this delivery, so it does not count as one of its attempts. `ours` says that only we can mend it.
    """

    reason: str
    ours: bool = False
    detail: str = ""


@dataclass(frozen=True, slots=True)
class InDoubt(_Told):
    """The mail was handed over and no answer came: it may have been accepted. Only mail can end so."""

    reason: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Gone(_Told):
    """The endpoint said 410: it wants nothing more, ever."""

    detail: str = ""


@dataclass(frozen=True, slots=True)
class Unwritten(_Told):
    """There is nothing to send yet: the template, an expression in it or the endpoint is missing. A newer playbook may mend it."""

    detail: str


Outcome = Delivered | Deferred | Refused | Held | InDoubt | Gone | Unwritten
