"""What carries a delivery out, as the ledger needs it. Adapters: `smtp.py` and `webhook.py`; the simulator and the tests have their own."""

from datetime import datetime
from typing import Protocol

from services.mailer.loader import Endpoint
from services.mailer.outcomes import Deferred, Delivered, Gone, Held, Outcome, Refused

NotNow = Deferred | Refused | Held
"""Why a relay makes no offer."""


class Offer(Protocol):
    """A relay that has taken sender and recipient and waits for the mail. One of the two is called, once."""

    async def data(self, message: bytes) -> Outcome:
        """Hand the mail over. Without a clear answer it is InDoubt; no network error is raised."""
        ...

    async def withdraw(self) -> None:
        """Take the offer back; the relay gets no mail."""
        ...


class MailTransport(Protocol):
    """Carries mail in two stages, so that everything before the mail itself can be tried again."""

    async def offer(self, sender: str, recipient: str) -> Offer | NotNow:
        """Ask the relay whether it takes a mail from `sender` to `recipient`; nothing is sent yet. No network error is raised."""
        ...

    async def close(self) -> None: ...


class WebhookSender(Protocol):
    """Posts a signed body to an endpoint, once."""

    async def post(self, endpoint: Endpoint, webhook_id: str, body: bytes, at: datetime) -> Delivered | Deferred | Refused | Gone: ...

    async def close(self) -> None: ...
