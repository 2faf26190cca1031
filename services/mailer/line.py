"""One connection to the relay, and what can happen on it. Library errors become outcomes here and nowhere else."""

import asyncio
import re

from aiosmtplib import SMTP, SMTPAuthenticationError, SMTPException, SMTPHeloError, SMTPResponseException, SMTPSenderRefused
from aiosmtplib.protocol import normalize_message_line_endings

from services.mailer import replies
from services.mailer.outcomes import Deferred, Held, InDoubt, Outcome, Refused
from services.mailer.relay import Patience, Relay
from services.mailer.transport import NotNow

READY_FOR_MAIL = 354
LINE_BEGINS_WITH_DOT = re.compile(rb"^\.", re.MULTILINE)


class Line:
    """One connection. Anything that leaves it in an unknown state closes it."""

    def __init__(self, client: SMTP, patience: Patience) -> None:
        self._client = client
        self._patience = patience
        self._addressed = False
        self.carried = 0
        self.idle_since = 0.0

    @property
    def open(self) -> bool:
        return self._client.is_connected

    async def address(self, sender: str, recipient: str) -> NotNow | None:
        """Say MAIL and RCPT; None when the relay takes both."""
        self.carried += 1
        self._addressed = True
        try:
            return await self._address(sender, recipient)
        except SMTPSenderRefused as error:
            return replies.to_sender(error.code, error.message)
        except SMTPResponseException as error:
            return replies.to_recipient(error.code, error.message)
        except (OSError, SMTPException) as error:
            self._client.close()
            return Deferred("connection_lost", detail=_said(error), unanswered=True)
        except ValueError as error:
            return Refused("invalid_address", detail=_said(error))
        except BaseException:
            self._client.close()
            raise

    async def _address(self, sender: str, recipient: str) -> NotNow | None:
        plain = (sender + recipient).isascii()
        if not plain and not self._client.supports_extension("smtputf8"):
            return Refused("unsupported_address", detail="the relay does not speak SMTPUTF8")
        encoding, options = ("ascii", []) if plain else ("utf-8", ["SMTPUTF8"])
        await self._client.mail(sender, options=options, encoding=encoding)
        await self._client.rcpt(recipient, encoding=encoding)
        return None

    async def data(self, message: bytes) -> Outcome:
        """Say DATA, then the mail. Before its first byte a lost connection means: not sent. After it: in doubt."""
        try:
            reply = await self._client.execute_command(b"DATA")
            if reply.code != READY_FOR_MAIL:
                return replies.to_mail(reply.code if reply.code >= 400 else 451, reply.message) or Deferred("odd_answer")
        except (SMTPException, OSError) as error:
            self._client.close()
            return Deferred("connection_lost", detail=_said(error), unanswered=True)
        try:
            return await self._mail(message)
        except (SMTPException, OSError) as error:
            self._client.close()
            return InDoubt("no_answer", detail=_said(error))
        except BaseException:
            self._client.close()
            raise

    async def _mail(self, message: bytes) -> Outcome:
        protocol = self._client.protocol
        if protocol is None:
            return Deferred("connection_lost", unanswered=True)
        protocol.write(LINE_BEGINS_WITH_DOT.sub(b"..", normalize_message_line_endings(message)) + b".\r\n")
        reply = await protocol.read_response(timeout=self._patience.answer)
        self._addressed = False
        return replies.to_mail(reply.code, reply.message) or InDoubt("odd_answer", detail=replies.words(reply.code, reply.message))

    async def reset(self) -> bool:
        """Ready for another mail?"""
        if not self._addressed:
            return True
        try:
            await self._client.rset()
        except (SMTPException, OSError):
            self._client.close()
            return False
        self._addressed = False
        return True

    async def quit(self) -> None:
        try:
            async with asyncio.timeout(2):
                await self._client.quit()
        except (SMTPException, OSError):
            pass
        finally:
            self._client.close()


async def connect(relay: Relay, our_name: str, patience: Patience) -> Line | Held:
    """Connect, greet, log in. Held where the relay as a whole does not take us."""
    client = SMTP(
        hostname=relay.host,
        port=relay.port,
        use_tls=relay.tls,
        validate_certs=relay.must_prove_its_name,
        timeout=patience.command,
        local_hostname=our_name,
    )
    try:
        async with asyncio.timeout(patience.connect):
            await client.connect()
            await _greet(client)
            await _log_in(client, relay)
    except (SMTPException, OSError) as error:
        client.close()
        return _no_connection(error)
    except BaseException:
        client.close()
        raise
    return Line(client, patience)


async def _greet(client: SMTP) -> None:
    if not client.is_ehlo_or_helo_needed:
        return
    try:
        await client.ehlo()
    except SMTPHeloError:
        await client.helo()


async def _log_in(client: SMTP, relay: Relay) -> None:
    if relay.username is None:
        return
    if client.get_transport_info("sslcontext") is None and not relay.nearby:
        raise SMTPException("the relay offers no encryption and does not get our password; use smtps:// or a relay with STARTTLS")
    await client.login(relay.username, relay.password)


def _no_connection(error: SMTPException | OSError) -> Held:
    match error:
        case SMTPAuthenticationError():
            return Held("login_refused", ours=error.code >= 500, detail=replies.words(error.code, error.message))
        case SMTPResponseException():
            return Held("relay_refuses", ours=error.code >= 500, detail=replies.words(error.code, error.message))
        case OSError():  # aiosmtplib's connection errors and timeouts are OSErrors too
            return Held("relay_unreachable", detail=_said(error))
        case _:
            return Held("relay_unusable", ours=True, detail=_said(error))


def _said(error: Exception) -> str:
    return str(getattr(error, "message", error))
