"""Published playbooks as the mailer reads them: compiled once, kept by version."""

from collections.abc import Mapping

from services.mailer.loader import MailerPlaybook, load
from services.mailer.policy import Delivery, Policy, WhenInDoubt
from shared.errors import ConfigurationError, Outage
from shared.playbooks import Playbook, Playbooks
from shared.telemetry import log as logger


class Editions:
    """Every version that a delivery may ask for. `environ` fills the `${NAME}`s; it is read here and never stored."""

    def __init__(self, playbooks: Playbooks, environ: Mapping[str, str]) -> None:
        self._playbooks = playbooks
        self._environ = environ
        self._known: dict[str, MailerPlaybook] = {}
        self._policy = Policy()

    async def of(self, delivery: Delivery) -> MailerPlaybook:
        """The playbook a delivery goes by: its own, or the newest where only a newer one can mend it. Raises ConfigurationError."""
        if delivery.by_newest:
            return await self.newest()
        return await self.version(delivery.send.version)

    async def version(self, version: str) -> MailerPlaybook:
        """One version. Raises ConfigurationError where it cannot be had."""
        return self._compiled(await self._playbooks.get(version))

    async def newest(self) -> MailerPlaybook:
        """The playbook in force. Raises ConfigurationError."""
        return self._compiled(await self._playbooks.newest())

    async def policy(self) -> Policy:
        """When marketing may go. The rules in force bind every mail, also an older version's; while they cannot be had, as they were."""
        try:
            self._policy = (await self.newest()).policy
        except ConfigurationError:
            logger.warning("policy.kept", why="the playbook in force cannot be read")
        return self._policy

    async def newest_version(self) -> str | None:
        """None while nothing was published."""
        try:
            return (await self._playbooks.newest()).version
        except ConfigurationError:
            return None

    async def when_in_doubt(self, delivery: Delivery) -> WhenInDoubt:
        """What the playbook wants for this category; `hold` where the playbook cannot be had."""
        try:
            mail = (await self.of(delivery)).mail
        except (ConfigurationError, Outage):
            return "hold"
        return mail.in_doubt_transactional if delivery.send.category == "transactional" else mail.in_doubt_marketing

    def _compiled(self, playbook: Playbook) -> MailerPlaybook:
        if playbook.version not in self._known:
            self._known[playbook.version] = load(playbook.files, self._environ, playbook.version)
        return self._known[playbook.version]
