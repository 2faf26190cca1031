"""Every setting there is, by its name in the environment; what looks like one and is none is told at the start."""

import os
from collections.abc import Iterable

from dotenv import dotenv_values
from pydantic_settings import BaseSettings

from dripline.cli.client import ClientSettings
from dripline.settings import RunSettings, ServeSettings
from services.console.settings import ConsoleSettings
from services.ingest.settings import IngestSettings
from services.journeys.settings import JourneysSettings
from services.mailer.settings import MailerSettings
from services.scoring.settings import ScoringSettings
from shared.shapes import suggestion

PREFIX = "DRIPLINE_"
CLASSES: tuple[type[BaseSettings], ...] = (
    *(RunSettings, ClientSettings, IngestSettings, ScoringSettings, JourneysSettings, MailerSettings, ConsoleSettings),
)
NOT_FROM_OUTSIDE = frozenset({"console_password_hash", "sole_owner"})
"""Fields that `run` fills in by itself."""
ELSEWHERE = frozenset(PREFIX + name.upper() for name in ServeSettings.model_fields) | {"DRIPLINE_TEST_DATABASE"}
"""Read by `serve` and by the tests alone."""


def known() -> frozenset[str]:
    """The names that mean something to `run` and to the commands."""
    fields = {name for settings in CLASSES for name in settings.model_fields}
    return frozenset(PREFIX + name.upper() for name in fields - NOT_FROM_OUTSIDE)


def unknown(names: Iterable[str] | None = None) -> list[str]:
    """A warning for each name, of the environment and `.env`, that begins as ours do and is none."""
    given = set(names if names is not None else (*os.environ, *dotenv_values(".env")))
    ours = {name for name in given if name.startswith(PREFIX)} - known() - ELSEWHERE
    return [f"Warning: {name} is no setting{suggestion(name, known())}; docs/settings.md names them all." for name in sorted(ours)]
