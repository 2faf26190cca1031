"""The relay on a real socket: every way it can say yes, no, later or nothing, and what the ledger makes of it."""

import asyncio
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword

from services.mailer.outcomes import Deferred, Delivered, Held, InDoubt, Refused
from services.mailer.relay import Patience, parse_smtp_url
from services.mailer.smtp import SmtpOffer, SmtpTransport
from tests.mailer_house import House

DROP = "drop"
SILENCE = "silence"
MAIL = b"From: a@acme.example\r\nTo: ana@example.com\r\nSubject: x\r\n\r\n.a dot begins this line\r\nbye\r\n"
QUICK = Patience(connect=1, command=0.3, offer=2, answer=0.3)
CALM = Patience(connect=5, command=5, answer=5)


USUAL = {
    "CONNECT": "220 relay",
    "EHLO": "250 relay",
    "MAIL": "250 ok",
    "RCPT": "250 ok",
    "DATA": "354 go on",
    "BODY": "250 2.0.0 queued as 1",
    "RSET": "250 ok",
    "QUIT": "221 bye",
}


@dataclass
class ScriptedRelay:
    """Speaks SMTP by a script: a reply for each verb (`BODY` for the whole mail), or DROP, or SILENCE."""

    replies: dict[str, str] = field(default_factory=dict)
    mails: list[bytes] = field(default_factory=list)
    heard: list[str] = field(default_factory=list)
    connections: int = 0
    open: set[asyncio.StreamWriter] = field(default_factory=set)
    port: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open.add(writer)
        try:
            going_on = await self.say(writer, "CONNECT")
            while going_on and (line := await reader.readline()):
                verb = line.split()[0].decode().upper()
                self.heard.append(verb)
                going_on = await self.say(writer, verb) and verb != "QUIT"
                if going_on and verb == "DATA" and self.reply("DATA").startswith("354"):
                    self.mails.append(await reader.readuntil(b"\r\n.\r\n"))
                    going_on = await self.say(writer, "BODY")
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self.open.discard(writer)
            writer.close()

    def reply(self, verb: str) -> str:
        return self.replies.get(verb, USUAL.get(verb, "500 what?"))

    async def say(self, writer: asyncio.StreamWriter, verb: str) -> bool:
        reply = self.reply(verb)
        if reply == DROP:
            return False
        if reply != SILENCE:
            writer.write(reply.encode(errors="surrogateescape") + b"\r\n")
            await writer.drain()
        return not reply.startswith("421")

    def drop_all(self) -> None:
        for writer in self.open:
            writer.close()


@asynccontextmanager
async def listening(relay: ScriptedRelay, port: int = 0) -> AsyncIterator[ScriptedRelay]:
    server = await asyncio.start_server(relay.serve, "127.0.0.1", port)
    relay.port = server.sockets[0].getsockname()[1]
    try:
        yield relay
    finally:
        server.close()
        relay.drop_all()


@pytest.fixture
async def relay() -> AsyncIterator[ScriptedRelay]:
    async with listening(ScriptedRelay()) as relay:
        yield relay


@pytest.fixture
async def transport(relay: ScriptedRelay) -> AsyncIterator[SmtpTransport]:
    transport = SmtpTransport(parse_smtp_url(f"smtp://127.0.0.1:{relay.port}"), patience=QUICK)
    yield transport
    await transport.close()


async def sent(transport: SmtpTransport, recipient: str = "ana@example.com", mail: bytes = MAIL) -> object:
    offer = await transport.offer("a@acme.example", recipient)
    return await offer.data(mail) if isinstance(offer, SmtpOffer) else offer


async def test_a_mail_arrives_byte_for_byte(relay: ScriptedRelay, transport: SmtpTransport) -> None:
    assert await sent(transport) == Delivered("250 2.0.0 queued as 1")
    assert relay.mails == [MAIL.replace(b"\r\n.a", b"\r\n..a") + b".\r\n"]


async def test_nothing_of_the_mail_leaves_before_it_is_handed_over(relay: ScriptedRelay, transport: SmtpTransport) -> None:
    offer = await transport.offer("a@acme.example", "ana@example.com")
    assert isinstance(offer, SmtpOffer)
    assert relay.heard == ["EHLO", "MAIL", "RCPT"]
    await offer.withdraw()
    assert relay.heard[-1] == "RSET"
    assert await sent(transport) == Delivered("250 2.0.0 queued as 1")
    assert relay.connections == 1


@pytest.mark.parametrize(
    ("script", "outcome"),
    [
        ({"MAIL": "451 4.3.0 later"}, Deferred("relay_deferred", None, "451 4.3.0 later")),
        ({"MAIL": "550 5.7.1 not you"}, Deferred("sender_refused", detail="550 5.7.1 not you", ours=True)),
        (
            {"RCPT": "450 4.2.0 wait 300 seconds"},
            Deferred("relay_deferred", timedelta(minutes=5), "450 4.2.0 wait 300 seconds"),
        ),
        ({"RCPT": "550 5.1.1 nobody"}, Refused("recipient_refused", True, False, "550 5.1.1 nobody")),
        ({"DATA": "451 not now"}, Deferred("relay_deferred", None, "451 not now")),
        ({"DATA": "554 no"}, Refused("mail_refused", ours=True, detail="554 no")),
        ({"DATA": DROP}, Deferred("connection_lost", detail="Unexpected EOF received", unanswered=True)),
        ({"BODY": "451 4.7.1 later"}, Deferred("relay_deferred", None, "451 4.7.1 later")),
        ({"BODY": "554 5.7.1 spam"}, Refused("mail_refused", ours=True, detail="554 5.7.1 spam")),
        ({"BODY": "421 closing"}, Deferred("relay_deferred", None, "421 closing")),
        ({"BODY": DROP}, InDoubt("no_answer", "Unexpected EOF received")),
        ({"BODY": SILENCE}, InDoubt("no_answer", "Timed out waiting for server response")),
        ({"BODY": "gibberish"}, InDoubt("no_answer", "Malformed SMTP response line: gibberish")),
        ({"BODY": "250 accept\udce9\0 ok"}, Delivered("250 accept\ufffd\ufffd ok")),
        ({"RCPT": "550 5.1.1 inconnu\udce9"}, Refused("recipient_refused", True, False, "550 5.1.1 inconnu\ufffd")),
        ({"BODY": "354 what"}, InDoubt("odd_answer", "354 what")),
        ({"RCPT": DROP}, Deferred("connection_lost", detail="Unexpected EOF received", unanswered=True)),
        ({"RCPT": SILENCE}, Deferred("connection_lost", detail="Timed out waiting for server response", unanswered=True)),
        ({"MAIL": "421 too busy"}, Held("relay_busy", detail="421 too busy")),
        ({"CONNECT": "421 too busy"}, Held("relay_refuses", detail="421 too busy")),
        ({"CONNECT": "554 not you"}, Held("relay_refuses", ours=True, detail="554 not you")),
        ({"CONNECT": DROP}, Held),
        ({"CONNECT": SILENCE}, Held),
        ({"EHLO": "421 too busy"}, Held),
    ],
)
async def test_every_answer_has_its_outcome(
    relay: ScriptedRelay, transport: SmtpTransport, script: dict[str, str], outcome: object
) -> None:
    relay.replies = script
    found = await sent(transport)
    assert isinstance(found, outcome) if isinstance(outcome, type) else found == outcome
    relay.replies = {}
    assert await sent(transport) == Delivered("250 2.0.0 queued as 1")


async def test_a_relay_that_is_not_there_holds(relay: ScriptedRelay) -> None:
    transport = SmtpTransport(parse_smtp_url("smtp://127.0.0.1:1"), patience=QUICK)
    assert isinstance(await sent(transport), Held)


async def test_a_line_is_kept_for_a_bounded_number_of_mails(relay: ScriptedRelay) -> None:
    transport = SmtpTransport(parse_smtp_url(f"smtp://127.0.0.1:{relay.port}"), mails_per_line=3, patience=QUICK)
    for _ in range(7):
        await sent(transport)
    await transport.close()
    assert (relay.connections, len(relay.mails)) == (3, 7)
    assert relay.heard.count("QUIT") == 3


async def test_there_are_never_more_lines_than_allowed(relay: ScriptedRelay) -> None:
    transport = SmtpTransport(parse_smtp_url(f"smtp://127.0.0.1:{relay.port}"), connections=4, patience=QUICK)
    outcomes = await asyncio.gather(*(sent(transport) for _ in range(40)))
    await transport.close()
    assert outcomes == [Delivered("250 2.0.0 queued as 1")] * 40
    assert relay.connections <= 8  # four at a time, each for twenty mails


async def test_a_line_that_the_relay_closed_meanwhile_costs_no_attempt(relay: ScriptedRelay, transport: SmtpTransport) -> None:
    await sent(transport)
    relay.drop_all()
    assert await sent(transport) == Delivered("250 2.0.0 queued as 1")
    relay.replies = {"MAIL": "421 idle too long"}
    assert isinstance(await sent(transport), Held)


async def test_a_refused_recipient_does_not_cost_the_line(relay: ScriptedRelay, transport: SmtpTransport) -> None:
    relay.replies = {"RCPT": "550 5.1.1 nobody"}
    await sent(transport)
    relay.replies = {}
    await sent(transport)
    assert relay.connections == 1


async def test_an_address_beyond_ascii_needs_a_relay_that_knows_them(relay: ScriptedRelay, transport: SmtpTransport) -> None:
    assert await sent(transport, "آنا@example.com") == Refused("unsupported_address", detail="the relay does not speak SMTPUTF8")
    relay.replies = {"EHLO": "250-relay\r\n250 SMTPUTF8"}
    other = SmtpTransport(parse_smtp_url(f"smtp://127.0.0.1:{relay.port}"), patience=QUICK)
    assert await sent(other, "آنا@example.com") == Delivered("250 2.0.0 queued as 1")
    await other.close()


async def test_a_recipient_with_a_line_break_cannot_add_a_command(relay: ScriptedRelay, transport: SmtpTransport) -> None:
    await sent(transport, "ana@example.com>\r\nRCPT TO:<eve@example.com")
    assert relay.heard.count("RCPT") <= 1


class Keeps:
    """aiosmtpd's side: keeps what it took."""

    def __init__(self) -> None:
        self.recipients: list[str] = []

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        self.recipients += envelope.rcpt_tos
        return "250 OK"


def knows_ana(server: Any, session: Any, envelope: Any, mechanism: str, login: LoginPassword) -> AuthResult:
    return AuthResult(success=(login.login, login.password) == (b"ana", b"secret"), handled=False)


@asynccontextmanager
async def aiosmtpd(**options: Any) -> AsyncIterator[tuple[Keeps, int]]:
    """A whole SMTP server by other hands."""
    handler = Keeps()
    server = await asyncio.get_running_loop().create_server(lambda: SMTP(handler, hostname="relay", **options), "127.0.0.1", 0)
    try:
        yield handler, server.sockets[0].getsockname()[1]
    finally:
        server.close()


@pytest.fixture
def certificate(tmp_path: Path) -> ssl.SSLContext:
    """A certificate that nobody vouches for."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    cert, key = str(tmp_path / "cert.pem"), str(tmp_path / "key.pem")
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-keyout", key, "-out", cert, *subject]
    subprocess.run(command, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    return context


async def test_encryption_is_taken_where_it_is_offered(certificate: ssl.SSLContext) -> None:
    async with aiosmtpd(tls_context=certificate, require_starttls=True) as (handler, port):
        transport = SmtpTransport(parse_smtp_url(f"smtp://127.0.0.1:{port}"), patience=CALM)
        assert await sent(transport) == Delivered("250 OK")
        await transport.close()
    assert handler.recipients == ["ana@example.com"]


async def test_a_password_goes_to_no_relay_that_cannot_prove_its_name(certificate: ssl.SSLContext) -> None:
    async with aiosmtpd(tls_context=certificate, authenticator=knows_ana) as (_, port):
        outcome = await sent(SmtpTransport(parse_smtp_url(f"smtp://ana:secret@127.0.0.1:{port}"), patience=CALM))
    assert isinstance(outcome, Held)
    assert "CERTIFICATE_VERIFY_FAILED" in outcome.detail


@pytest.mark.filterwarnings("ignore:Requiring AUTH")
async def test_a_login_is_made_on_every_line() -> None:
    async with aiosmtpd(authenticator=knows_ana, auth_required=True, auth_require_tls=False) as (_, port):
        transport = SmtpTransport(parse_smtp_url(f"smtp://ana:secret@127.0.0.1:{port}"), mails_per_line=1, patience=CALM)
        assert [await sent(transport) for _ in range(2)] == [Delivered("250 OK")] * 2
        await transport.close()


@pytest.mark.filterwarnings("ignore:Requiring AUTH")
async def test_a_wrong_password_holds_the_relay_until_somebody_mends_it() -> None:
    async with aiosmtpd(authenticator=knows_ana, auth_required=True, auth_require_tls=False) as (_, port):
        outcome = await sent(SmtpTransport(parse_smtp_url(f"smtp://ana:wrong@127.0.0.1:{port}"), patience=CALM))
    assert isinstance(outcome, Held)
    assert (outcome.reason, outcome.ours) == ("login_refused", True)


# From here on the whole ledger stands behind the socket.


@pytest.fixture
async def mailing(house: House, relay: ScriptedRelay, transport: SmtpTransport) -> House:
    house.scheduler = house.new_scheduler(relay=transport)
    return house


async def test_dropped_after_the_mail_is_in_doubt_and_never_sent_twice(mailing: House, relay: ScriptedRelay) -> None:
    relay.replies = {"BODY": DROP}
    await mailing.receive(mailing.a_send())
    await mailing.tick()
    relay.replies = {}
    for _ in range(30):
        await mailing.go_on(hours=1)
    assert ((await mailing.row()).status, len(relay.mails)) == ("in_doubt", 1)


async def test_dropped_after_the_mail_with_retry_goes_again_as_the_same_mail(mailing: House, relay: ScriptedRelay) -> None:
    relay.replies = {"BODY": DROP}
    await mailing.receive(mailing.a_send(category="transactional"))
    await mailing.tick()
    relay.replies = {}
    await mailing.go_on(minutes=1)
    assert (await mailing.row()).status == "sent"
    first, second = (mail.split(b"Message-ID: ")[1].split(b"\r\n")[0] for mail in relay.mails)
    assert first == second


async def test_451_waits_and_554_fails(mailing: House, relay: ScriptedRelay) -> None:
    relay.replies = {"RCPT": "451 4.7.1 greylisted"}
    await mailing.receive(mailing.a_send(1))
    await mailing.tick()
    assert (await mailing.row()).status == "deferred"
    relay.replies = {}
    await mailing.go_on(minutes=1)
    assert (await mailing.row()).status == "sent"
    relay.replies = {"RCPT": "554 5.2.1 no"}
    await mailing.receive(mailing.a_send(2))
    await mailing.tick()
    assert (await mailing.row("m2")).status == "failed"


async def test_a_server_that_goes_down_and_comes_back_loses_nothing(house: House) -> None:
    async with listening(ScriptedRelay()) as relay:
        port = relay.port
        transport = SmtpTransport(parse_smtp_url(f"smtp://127.0.0.1:{port}"), patience=QUICK)
        house.scheduler = house.new_scheduler(relay=transport)
        await house.receive(house.a_send(1))
        await house.tick()
    await house.receive(house.a_send(2), house.a_send(3))
    await house.tick()
    assert await house.statuses() == {"m1": "sent", "m2": "deferred", "m3": "deferred"}
    async with listening(ScriptedRelay(), port) as relay:
        for _ in range(3):
            await house.go_on(seconds=60)
        assert set((await house.statuses()).values()) == {"sent"}
        assert len(relay.mails) == 2
        await transport.close()


async def test_a_yes_in_bytes_that_are_no_text_is_a_yes(mailing: House, relay: ScriptedRelay) -> None:
    relay.replies = {"BODY": "250 accept\udce9"}
    await mailing.receive(*(mailing.a_send(number, category="transactional") for number in range(5)))
    await mailing.tick()
    await mailing.go_on(hours=1)
    assert set((await mailing.statuses()).values()) == {"sent"}
    assert len(relay.mails) == 5
