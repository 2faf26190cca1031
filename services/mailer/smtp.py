"""Mail out: one recipient a transaction, over kept connections, in two stages.

offer (connect, MAIL, RCPT) ──► the ledger marks `sending` ──► Offer.data (DATA, the mail, the relay's answer)

Whatever goes wrong before the mail's first byte is safely tried again; whatever goes wrong after it leaves the mail in doubt.
"""

import asyncio
import socket
import time

from services.mailer.line import Line, connect
from services.mailer.outcomes import Deferred, Held, Outcome
from services.mailer.relay import Patience, Relay
from services.mailer.transport import NotNow


class SmtpTransport:
    """Carries mail to one relay over at most `connections` lines, of `mails_per_line` mails each. Belongs to one event loop."""

    def __init__(self, relay: Relay, *, connections: int = 20, mails_per_line: int = 20, patience: Patience | None = None) -> None:
        self._relay = relay
        self._places = asyncio.Semaphore(connections)
        self._mails_per_line = mails_per_line
        self._patience = patience or Patience()
        self._our_name = "localhost" if relay.nearby else None
        self._idle: list[Line] = []
        self._parting: set[asyncio.Task[None]] = set()

    async def offer(self, sender: str, recipient: str) -> "SmtpOffer | NotNow":
        await self._places.acquire()
        offered: SmtpOffer | NotNow | None = None
        try:
            async with asyncio.timeout(self._patience.offer):
                offered = await self._offer(sender, recipient)
        except TimeoutError:
            offered = Deferred("relay_slow", unanswered=True)
        finally:
            if not isinstance(offered, SmtpOffer):
                self._places.release()
        return offered

    async def _offer(self, sender: str, recipient: str) -> "SmtpOffer | NotNow":
        while (kept := self._kept()) is not None:
            obstacle = await kept.address(sender, recipient)
            if obstacle is None:
                return SmtpOffer(self, kept)
            if kept.open:
                await self.give_back(kept)
                return obstacle
            # The relay had closed this line while it was idle, or closes it now: another will tell.
        line = await self._connect()
        if isinstance(line, Held):
            return line
        obstacle = await line.address(sender, recipient)
        if obstacle is None:
            return SmtpOffer(self, line)
        await self.give_back(line)
        return obstacle

    def _kept(self) -> Line | None:
        while self._idle:
            line = self._idle.pop()
            if line.open and time.monotonic() - line.idle_since < self._patience.idle:
                return line
            self._part(line)
        return None

    async def _connect(self) -> Line | Held:
        if self._our_name is None:
            self._our_name = await asyncio.to_thread(socket.getfqdn)
        return await connect(self._relay, self._our_name, self._patience)

    async def give_back(self, line: Line) -> None:
        """Keep the line for another mail, or part from it."""
        if line.open and line.carried < self._mails_per_line and await line.reset():
            line.idle_since = time.monotonic()
            self._idle.append(line)
        else:
            self._part(line)

    async def ended(self, line: Line) -> None:
        """The offer on this line is over; its place is free."""
        try:
            await self.give_back(line)
        finally:
            self._places.release()

    def _part(self, line: Line) -> None:
        """Say goodbye without keeping anybody waiting."""
        task = asyncio.get_running_loop().create_task(line.quit())
        self._parting.add(task)
        task.add_done_callback(self._parting.discard)

    async def close(self) -> None:
        while self._idle:
            self._part(self._idle.pop())
        if self._parting:
            await asyncio.wait(self._parting, timeout=2)


class SmtpOffer:
    """An offer of the relay on one line."""

    def __init__(self, transport: SmtpTransport, line: Line) -> None:
        self._transport = transport
        self._line = line

    async def data(self, message: bytes) -> Outcome:
        try:
            return await self._line.data(message)
        finally:
            await self._transport.ended(self._line)

    async def withdraw(self) -> None:
        await self._transport.ended(self._line)
