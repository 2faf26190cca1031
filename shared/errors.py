"""What can go wrong, by what the caller must do.

DriplineError
├── ConfigurationError   stop at start; says file, line and remedy
├── InvalidMessage       set the record aside as a dead letter and go on
├── Outage               hold, back off, try again: nothing is lost
└── Fenced               somebody else owns the partition: roll back, reload the position

Adapters translate library errors into these in one place, with `raise … from error`. Expected ends are values, not exceptions.
"""


class DriplineError(Exception):
    """The root of every error of ours."""


class ConfigurationError(DriplineError):
    """A setting, playbook or data folder cannot be used; the text names the place and the remedy."""


class InvalidMessage(DriplineError):
    """A record that can never be handled; `code` is its short, stable reason."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Outage(DriplineError):
    """Something we depend on does not answer now; the same call may succeed later."""


class Fenced(DriplineError):
    """The stored position moved under us: another consumer owns this partition."""
