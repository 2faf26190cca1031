"""Watches the playbook's folder while `run` runs: what is saved there and has no mistakes is published; else the last good one stays."""

import asyncio
import sys
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

from dripline.check import check
from shared.errors import ConfigurationError
from shared.playbooks import Playbook, Playbooks, read_folder
from shared.telemetry import log as logger

EVERY = timedelta(seconds=2)


class Watch:
    """Looks at one folder. A change counts once two looks in a row found the same, so that no half-saved one is published."""

    def __init__(self, folder: Path, playbooks: Playbooks, environ: Mapping[str, str], published: Playbook) -> None:
        self._folder = folder
        self._playbooks = playbooks
        self._environ = environ
        self._settled = self._seen = published.version

    async def look(self) -> None:
        """Publish what changed, or say once what is wrong with it. Raises Outage where it cannot be stored; the next look tries again."""
        try:
            found = await asyncio.to_thread(read_folder, self._folder)
        except ConfigurationError as error:
            self._refuse(f"unreadable: {error}", [str(error)])
            return
        steady = found.version == self._seen
        self._seen = found.version
        if steady and found.version != self._settled:
            await self._take(found)

    async def _take(self, found: Playbook) -> None:
        troubles = await asyncio.to_thread(check, found, self._environ)
        if troubles:
            self._refuse(found.version, [str(trouble) for trouble in troubles])
            return
        await self._playbooks.publish(found)
        self._settled = found.version
        sys.stdout.write(f"The playbook has changed; version {found.version} is in force.\n")
        sys.stdout.flush()

    def _refuse(self, what: str, troubles: list[str]) -> None:
        if what == self._settled:
            return
        self._settled = what
        for trouble in troubles:
            logger.error("playbook.refused", trouble=trouble)
        logger.warning("playbook.kept", why="the changed playbook has mistakes; the one published before stays in force")
