"""Whether the mail server can be reached, for `/readyz`: one connection, asked at most every ten seconds."""

import asyncio
import time

from services.mailer.relay import Relay
from shared.errors import Outage

FRESH_SECONDS = 10.0
PATIENCE_SECONDS = 2.0


class RelayCheck:
    """Called by whoever asks whether we are ready. Raises Outage while the relay does not answer."""

    def __init__(self, relay: Relay) -> None:
        self._relay = relay
        self._asked_at = float("-inf")
        self._trouble: str | None = None
        self._asking = asyncio.Lock()

    async def __call__(self) -> None:
        async with self._asking:  # one connection, however many ask
            if time.monotonic() - self._asked_at > FRESH_SECONDS:
                self._trouble = await self._look()
                self._asked_at = time.monotonic()
        if self._trouble is not None:
            raise Outage(self._trouble)

    async def _look(self) -> str | None:
        """Why it cannot be reached; None where it can. Logging in is left to real mail: some relays count it."""
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                _, writer = await asyncio.open_connection(self._relay.host, self._relay.port)
        except (OSError, TimeoutError) as error:
            return f"the mail server {self._relay.host}:{self._relay.port} does not answer ({type(error).__name__})"
        writer.close()
        return None
