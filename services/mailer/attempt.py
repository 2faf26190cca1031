"""One attempt at one delivery, from the claim to its outcome.

mail:     write ──► offer ──► mark `sending` ──► hand over
hand-off: wait for its turn ──► look up the endpoint ──► post the stored bytes
"""

import asyncio
from asyncio import Semaphore
from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from services.mailer.compose import BadAddress, Mail, compose, message_id_for
from services.mailer.editions import Editions
from services.mailer.endpoints import Closed
from services.mailer.ledger import Claim, Written
from services.mailer.links import Links
from services.mailer.loader import MailerPlaybook
from services.mailer.outcomes import Deferred, Delivered, Held, InDoubt, Outcome, Refused, Unwritten
from services.mailer.policy import Delivery
from services.mailer.templates import TemplateProblem
from services.mailer.transport import MailTransport, Offer, WebhookSender
from shared.clock import Clock, real_now
from shared.errors import ConfigurationError
from shared.failpoints import passing
from shared.signing import Signer
from shared.telemetry import log as logger

Mark = Callable[[Written], Awaitable[bool]]
"""Marks a mail as `sending`, or says that it may not go any more."""

Stands = Callable[[Delivery], Awaitable[bool]]
"""Whether a delivery is still in our hands as it was claimed."""

LONG_WAIT = 1.0
"""Seconds: whoever waited longer for a slow endpoint looks whether his webhook still may go; it may be answered or erased by now."""
POSTS_AT_ONCE = 8
"""To one endpoint; each has turns of its own, so that a slow one keeps nobody else waiting."""


def _turns() -> defaultdict[str, Semaphore]:
    return defaultdict(lambda: Semaphore(POSTS_AT_ONCE))


@dataclass(frozen=True, slots=True)
class Attempts:
    """Carries claims out. Whatever goes wrong becomes an outcome: one bad delivery stops no other."""

    editions: Editions
    links: Links
    signer: Signer
    clock: Clock
    mail: MailTransport
    webhooks: WebhookSender
    mark: Mark
    closed: Closed
    stands: Stands
    turns: defaultdict[str, Semaphore] = field(default_factory=_turns)

    async def carry_out(self, claim: Claim) -> Outcome | None:
        """The outcome; None where the delivery was taken out of our hands before anything left."""
        try:
            playbook = await self.editions.of(claim.delivery)
        except ConfigurationError as error:
            return Unwritten(str(error))
        if claim.delivery.kind == "webhook":
            return await self._post_in_turn(claim, playbook)
        return await self._mail(claim, playbook)

    async def _mail(self, claim: Claim, playbook: MailerPlaybook) -> Outcome | None:
        message_id = claim.delivery.message_id or message_id_for(claim.delivery.id, self.signer, playbook.mail.from_.domain)
        written = self._write(claim, playbook, message_id)
        if not isinstance(written, Mail):
            return written
        offer = await self.mail.offer(written.sender, written.recipient)
        if isinstance(offer, Deferred | Refused | Held):
            return offer
        if not await self._marked(offer, Written(claim, message_id, written.targets)):
            await offer.withdraw()
            return None
        return await _hand_over(offer, written.data, claim)

    def _write(self, claim: Claim, playbook: MailerPlaybook, message_id: str) -> Mail | Unwritten | Refused:
        assert claim.lead is not None  # a mail is only claimed for a known lead
        try:
            return compose(playbook, claim.delivery.send, claim.lead, self.links, message_id, real_now(), now=self.clock.now())
        except TemplateProblem as problem:
            return Unwritten(str(problem))
        except BadAddress as problem:
            return Refused("invalid_address", detail=str(problem))
        except Exception as error:  # noqa: BLE001 - a template can break in more ways than we know; it waits for a better one
            logger.exception("delivery.not_written", delivery_id=claim.delivery.id)
            return Unwritten(f"{claim.delivery.send.template}: {error!r}")

    async def _marked(self, offer: Offer, written: Written) -> bool:
        try:
            return await self.mark(written)
        except BaseException:
            await offer.withdraw()
            raise

    async def _post_in_turn(self, claim: Claim, playbook: MailerPlaybook) -> Outcome | None:
        time = asyncio.get_running_loop().time
        since = time()
        async with self.turns[claim.delivery.send.endpoint]:
            if time() - since > LONG_WAIT and not await self.stands(claim.delivery):
                return None
            return await self._post(claim, playbook)

    async def _post(self, claim: Claim, playbook: MailerPlaybook) -> Outcome:
        name = claim.delivery.send.endpoint
        endpoint = playbook.endpoints.get(name)
        if endpoint is None:
            return Unwritten(f"playbook {playbook.version} has no endpoint `{name}`: add it under `endpoints`")
        if endpoint in self.closed:
            return Refused(
                "endpoint_disabled",
                detail=f"`{name}` answered 410 Gone earlier; publish another URL, or enable it again: POST /api/endpoints/{name}/enable",
            )
        passing("webhook.before_post")
        outcome = await self.webhooks.post(endpoint, claim.delivery.id, claim.delivery.body or b"", real_now())
        if isinstance(outcome, Delivered):
            passing("webhook.after_2xx")
        return outcome


async def _hand_over(offer: Offer, data: bytes, claim: Claim) -> Outcome:
    passing("mailer.before_data")
    try:
        outcome = await offer.data(data)
    except Exception as error:  # noqa: BLE001 - after the mark nobody knows how far it got
        logger.exception("delivery.hand_over_failed", delivery_id=claim.delivery.id)
        return InDoubt("bug", detail=repr(error))
    if isinstance(outcome, Delivered):
        passing("mailer.after_250")
    return outcome
