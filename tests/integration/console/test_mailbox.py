"""The built-in mailbox: a real SMTP socket before it, pages of the console behind it."""

import asyncio
import errno
import smtplib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email.message import EmailMessage
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from dripline.demo.mailbox import Mailbox, Reception
from dripline.demo.mailbox_pages import mailbox_room
from tests.unit.console.services import FakeUpstreams, a_lead_known_everywhere, console, signed_in

HTML = '<!doctype html><html><head><title>x</title></head><body dir="rtl"><p>سلام</p><a href="https://acme.example/">x</a></body></html>'


def a_letter(
    to: str = "ana@example.com", subject: str = "Your guide", message_id: str = "<d1@acme.example>", html: str = HTML
) -> EmailMessage:
    message = EmailMessage()
    message["From"] = "Acme <hello@acme.example>"
    message["To"] = to
    message["Subject"] = subject
    message["Message-ID"] = message_id
    message.set_content("سلام مریم\n.leading dot\n")
    message.add_alternative(html, subtype="html")
    return message


@asynccontextmanager
async def receiving(mailbox: Mailbox) -> AsyncIterator[Reception]:
    reception = Reception(mailbox)
    serving = asyncio.create_task(reception.serve())
    try:
        yield reception
    finally:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
        reception.close()


async def send(reception: Reception, message: EmailMessage) -> None:
    def deliver() -> None:
        address = urlsplit(reception.url)
        with smtplib.SMTP(address.hostname or "", address.port or 0, timeout=10) as client:
            client.send_message(message)

    await asyncio.to_thread(deliver)


async def test_a_mail_that_smtp_accepted_is_in_the_folder_whole(tmp_path: Path):
    async with receiving(Mailbox(tmp_path)) as reception:
        await send(reception, a_letter())
    reopened = Mailbox(tmp_path)
    [summary] = reopened.newest(10)
    mail = reopened.find(summary.id)
    assert mail is not None
    assert (mail.subject, mail.message_id) == ("Your guide", "<d1@acme.example>")
    assert mail.text.replace("\r\n", "\n") == "سلام مریم\n.leading dot\n"
    assert mail.header("Return-Path") == "<hello@acme.example>"
    assert mail.header("Delivered-To") == "ana@example.com"


async def test_many_senders_at_once_lose_nothing(tmp_path: Path):
    mailbox = Mailbox(tmp_path)
    async with receiving(mailbox) as reception:
        await asyncio.gather(*(send(reception, a_letter(message_id=f"<m{n}@acme.example>")) for n in range(20)))
    mails = [mailbox.find(summary.id) for summary in mailbox.newest(100)]
    assert {mail.message_id for mail in mails if mail} == {f"<m{n}@acme.example>" for n in range(20)}


async def test_without_room_on_the_disk_the_sender_is_told_to_come_back(tmp_path: Path):
    class FullDisk(Mailbox):
        def store(self, *_: object) -> str:
            raise OSError(errno.ENOSPC, "No space left on device")

    async with receiving(FullDisk(tmp_path)) as reception:
        with pytest.raises(smtplib.SMTPDataError) as refused:
            await send(reception, a_letter())
    assert refused.value.smtp_code == 452


async def test_an_open_connection_does_not_hold_the_end_up(tmp_path: Path):
    async with receiving(Mailbox(tmp_path)) as reception:
        address = urlsplit(reception.url)
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
        assert (await reader.readline()).startswith(b"220")
    assert await reader.read() == b""
    writer.close()


def test_a_mailbox_that_never_serves_gives_its_port_back(tmp_path: Path):
    reception = Reception(Mailbox(tmp_path))
    address = urlsplit(reception.url)
    reception.close()
    with pytest.raises(ConnectionRefusedError):
        smtplib.SMTP(address.hostname or "", address.port or 0, timeout=10)


def test_only_the_newest_stay(tmp_path: Path):
    mailbox = Mailbox(tmp_path, keep=3)
    ids = [mailbox.store("a@b", ["c@d"], f"Subject: {n}\r\n\r\n".encode()) for n in range(5)]
    assert [mail.subject for mail in mailbox.newest(10)] == ["4", "3", "2"]
    assert mailbox.find(ids[0]) is None
    assert len(list(tmp_path.iterdir())) == 3


def test_the_list_goes_on_before_an_id(tmp_path: Path):
    mailbox = Mailbox(tmp_path)
    for n in range(5):
        mailbox.store("a@b", ["c@d"], f"Subject: {n}\r\n\r\n".encode())
    first = mailbox.newest(2)
    assert [mail.subject for mail in first] == ["4", "3"]
    assert [mail.subject for mail in mailbox.newest(2, first[-1].id)] == ["2", "1"]


def test_what_a_crash_left_half_written_is_no_mail(tmp_path: Path):
    (tmp_path / "0000000000000001-aaaaaaaa.part").write_bytes(b"Subject: half")
    (tmp_path / "notes.eml").write_bytes(b"Subject: not ours")
    assert Mailbox(tmp_path).newest(10) == []
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.parametrize("mail_id", ["../../etc/passwd", "..", "0000000000000001-aaaaaaaa", "", "0000000000000001-aaaaaaaa\n"])
def test_only_ids_of_mails_are_looked_up(tmp_path: Path, mail_id: str):
    assert Mailbox(tmp_path).find(mail_id) is None


def a_mailbox(tmp_path: Path, *letters: EmailMessage) -> Mailbox:
    mailbox = Mailbox(tmp_path)
    for letter in letters or (a_letter(),):
        mailbox.store("hello@acme.example", [str(letter["To"])], bytes(letter))
    return mailbox


async def test_the_mailbox_is_closed_to_strangers(tmp_path: Path):
    mailbox = a_mailbox(tmp_path)
    browser = console(FakeUpstreams(), (mailbox_room(mailbox),))
    [mail] = mailbox.newest(1)
    for path in ("/mailbox/", "/mailbox/fragment", f"/mailbox/{mail.id}", f"/mailbox/{mail.id}/body", f"/mailbox/{mail.id}/fragment"):
        assert (await browser.get(path)).status_code == 303


async def test_the_list_shows_who_got_what_and_changes_when_a_mail_arrives(tmp_path: Path):
    mailbox = a_mailbox(tmp_path, a_letter(subject="<script>alert(1)</script>"))
    browser = signed_in(FakeUpstreams(), (mailbox_room(mailbox),))
    page = await browser.get("/mailbox/")
    assert "&lt;script&gt;alert(1)" in page.text
    assert "<script>alert" not in page.text
    before = await browser.get("/mailbox/fragment")
    rest = await browser.get("/mailbox/fragment", headers={"if-none-match": before.headers["etag"]})
    assert rest.status_code == 304
    mailbox.store("a@b", ["c@d"], bytes(a_letter(subject="Another")))
    after = await browser.get("/mailbox/fragment", headers={"if-none-match": before.headers["etag"]})
    assert "Another" in after.text


async def test_a_mail_is_shown_with_the_row_of_its_delivery(tmp_path: Path):
    mailbox = a_mailbox(tmp_path)
    upstreams = a_lead_known_everywhere()
    [mail] = mailbox.newest(1)
    page = (await signed_in(upstreams, (mailbox_room(mailbox),)).get(f"/mailbox/{mail.id}")).text
    assert upstreams.asked[-1].params == {"message_id": "<d1@acme.example>"}
    for said in ("Your guide", "sent", "welcome-1", "/leads/l1", 'sandbox="allow-popups allow-popups-to-escape-sandbox"'):
        assert said in page


async def test_a_mail_is_shown_also_while_the_mailer_is_away(tmp_path: Path):
    mailbox = a_mailbox(tmp_path)
    [mail] = mailbox.newest(1)
    answer = await signed_in(FakeUpstreams(away={"mailer"}), (mailbox_room(mailbox),)).get(f"/mailbox/{mail.id}")
    assert answer.status_code == 200
    assert "Your guide" in answer.text


@pytest.mark.parametrize(
    ("view", "shown"), [("text", "سلام مریم"), ("source", "Return-Path: &lt;hello@acme.example&gt;"), ("headers", "<dt>Message-ID</dt>")]
)
async def test_a_mail_has_its_text_source_and_headers(tmp_path: Path, view: str, shown: str):
    mailbox = a_mailbox(tmp_path)
    [mail] = mailbox.newest(1)
    page = (await signed_in(a_lead_known_everywhere(), (mailbox_room(mailbox),)).get(f"/mailbox/{mail.id}?view={view}")).text
    assert shown in page
    assert "<iframe" not in page


async def test_the_body_runs_nothing_and_fetches_nothing_unless_asked(tmp_path: Path):
    mailbox = a_mailbox(tmp_path)
    browser = signed_in(FakeUpstreams(), (mailbox_room(mailbox),))
    [mail] = mailbox.newest(1)
    body = await browser.get(f"/mailbox/{mail.id}/body")
    policy = body.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "img-src data:;" in policy
    assert "sandbox allow-popups allow-popups-to-escape-sandbox" in policy
    assert "script" not in policy
    assert '<head><base target="_blank">' in body.text
    asked_for = await browser.get(f"/mailbox/{mail.id}/body?images=true")
    assert "img-src data: https: http:;" in asked_for.headers["content-security-policy"]


async def test_a_mail_that_is_gone_says_so(tmp_path: Path):
    answer = await signed_in(FakeUpstreams(), (mailbox_room(Mailbox(tmp_path)),)).get("/mailbox/0000000000000001-aaaaaaaa")
    assert answer.status_code == 404
    assert "newest 2,000" in answer.text
