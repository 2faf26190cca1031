"""The rules in force: those of the playbook published last, compiled once a version."""

from collections.abc import Mapping

from services.scoring.leads import Definitions
from services.scoring.loader import load
from shared.errors import ConfigurationError, Outage
from shared.playbooks import Playbooks


class Rulebook:
    """Answers with the definitions of the newest playbook. `environ` is what `${NAME}` means in it."""

    def __init__(self, playbooks: Playbooks, environ: Mapping[str, str]) -> None:
        self._playbooks = playbooks
        self._environ = environ
        self._version = ""
        self._definitions: Definitions | None = None

    async def newest(self) -> Definitions:
        """Raises Outage where no playbook was published yet, or the newest cannot be used here: events wait for one that can."""
        try:
            playbook = await self._playbooks.newest()
            if self._definitions is None or playbook.version != self._version:
                self._definitions = load(playbook.files, self._environ)
                self._version = playbook.version
        except ConfigurationError as error:
            raise Outage(f"scoring waits for a playbook: {error}") from error
        return self._definitions
