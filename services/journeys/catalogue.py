"""Which journeys are in force now, and which ones older walks still follow.

published playbooks ──loader.py──► Catalogue ──► consumer.py, scheduler.py, api.py, each asking once per transaction
"""

import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import NamedTuple

from services.journeys.definitions import Journey, Status
from services.journeys.dossier import Dossier
from services.journeys.enrollment import Enrollment
from services.journeys.loader import Journeys, load
from shared.errors import ConfigurationError, Outage
from shared.playbooks import Playbook, Playbooks
from shared.telemetry import log as logger


class Control(NamedTuple):
    """A status set over the API, in force while the file still says `instead_of`."""

    status: Status
    instead_of: Status


class InForce:
    """The journeys of the newest playbook and of the versions that walks are pinned to, each with the status it has now."""

    def __init__(self, version: str, controls: Mapping[str, Control], loaded: Mapping[str, Journeys | None]) -> None:
        newest = loaded[version]
        assert newest is not None
        self.version = version
        self.controls = controls
        self.newest = newest
        self._loaded = loaded
        self._found: dict[tuple[str, str], Journey] = {}
        self._starters = {name: tuple(self._current(journey) for journey in found) for name, found in newest.by_event.items()}

    def starters(self, event: str) -> tuple[Journey, ...]:
        """The journeys of the newest playbook that an event of this name may begin, the most urgent first."""
        return self._starters.get(event, ())

    def find(self, version: str, name: str) -> Journey | None:
        """A journey as it stood in a version, with the status it has now; None where that version cannot be read."""
        found = self._found.get((version, name))
        if found is None:
            journeys = self._loaded.get(version)
            if journeys is None or name not in journeys.by_name:
                return None
            found = replace(journeys.by_name[name], version=version, status=self.status_of(name))
            self._found[version, name] = found
        return found

    def status_of(self, name: str) -> Status:
        """The status in force: what the newest file says, unless the API says otherwise. A journey taken out drains."""
        said = self.said_of(name)
        control = self.controls.get(name)
        return control.status if control is not None and control.instead_of == said else said

    def said_of(self, name: str) -> Status:
        """What the newest playbook says."""
        journey = self.newest.by_name.get(name)
        return "draining" if journey is None else journey.status

    def held(self) -> list[str]:
        """The journeys whose walks take no step now."""
        names = {*self.newest.by_name, *self.controls}
        return sorted(name for name in names if self.status_of(name) in ("paused", "draft"))

    def unreadable(self) -> list[str]:
        """Versions that this code cannot read; their walks stand still."""
        return sorted(version for version, journeys in self._loaded.items() if journeys is None)

    def that_await(self, dossiers: Iterable[Dossier]) -> list[Dossier]:
        """Those of whose walks one may come to a `wait_for`: it looks at what the lead did lately."""
        return [dossier for dossier in {one.lead_id: one for one in dossiers}.values() if any(map(self._awaits, dossier.open.values()))]

    def _awaits(self, enrollment: Enrollment) -> bool:
        journey = self.find(enrollment.version, enrollment.journey)
        return enrollment.active and journey is not None and bool(journey.awaited)

    def _current(self, journey: Journey) -> Journey:
        found = self.find(self.version, journey.name)
        assert found is not None
        return found


class Catalogue:
    """Reads each published version once and answers what is in force. `environ` is what `${NAME}` means in playbook.yaml."""

    def __init__(self, playbooks: Playbooks, environ: Mapping[str, str] = os.environ) -> None:
        self._playbooks = playbooks
        self._environ = environ
        self._loaded: dict[str, Journeys | None] = {}
        self._current: InForce | None = None

    async def in_force(self, controls: Mapping[str, Control]) -> InForce:
        """The journeys as of now. Raises Outage where no playbook can be used: nothing is handled without one."""
        newest = await self._newest()
        current = self._current
        if current is None or current.version != newest.version or current.controls != controls:
            current = self._current = InForce(newest.version, controls, self._loaded)
        return current

    async def fetch(self, versions: Iterable[str]) -> None:
        """Read these versions, unless they are read already. One that cannot be read is logged, and its walks stand still."""
        for version in set(versions) - self._loaded.keys():
            try:
                self._read(await self._playbooks.get(version))
            except ConfigurationError as error:
                logger.error("playbook.unreadable", version=version, why=str(error))
                self._loaded[version] = None

    async def _newest(self) -> Playbook:
        try:
            newest = await self._playbooks.newest()
            if self._loaded.get(newest.version) is None:
                self._read(newest)
        except ConfigurationError as error:
            raise Outage(f"no playbook can be used: {error}") from error
        return newest

    def _read(self, playbook: Playbook) -> None:
        self._loaded[playbook.version] = load(playbook.files, self._environ)
