"""One stored mail, read as mail programs read it."""

from email.message import EmailMessage

import pytest

from dripline.demo.mail import Mail, Party
from tests.builders import NOON


def a_mail(source: bytes) -> Mail:
    return Mail("0000000000000001-aaaaaaaa", NOON, source)


def a_letter(html: str = "<p>سلام</p>", text: str = "سلام مریم", **headers: str) -> bytes:
    message = EmailMessage()
    fields = {
        "From": "Acme <hello@acme.example>",
        "To": "مریم حسینی <m@example.ir>",
        "Subject": "راهنمای شما",
        "Message-ID": "<d1@acme.example>",
    }
    for name, value in (fields | headers).items():
        message[name] = value
    message.set_content(text)
    message.add_alternative(html, subtype="html")
    return bytes(message)


def test_encoded_words_read_as_their_text():
    mail = a_mail(a_letter())
    assert mail.subject == "راهنمای شما"
    assert mail.to == [Party("مریم حسینی", "m@example.ir")]
    assert mail.sender == [Party("Acme", "hello@acme.example")]
    assert mail.message_id == "<d1@acme.example>"


def test_both_parts_read_as_their_text():
    mail = a_mail(a_letter())
    assert mail.text.strip() == "سلام مریم"
    assert mail.html.strip() == "<p>سلام</p>"


def test_the_source_is_the_mail_as_it_came():
    source = b"Subject: a\r\n\r\nbody\r\n"
    assert a_mail(source).source == "Subject: a\n\nbody\n"


def test_an_attachment_is_not_the_text():
    message = EmailMessage()
    message["Subject"] = "With a file"
    message.set_content("the text")
    message.add_attachment("the file", filename="a.txt")
    assert a_mail(bytes(message)).text.strip() == "the text"


def test_the_summary_is_one_line_of_the_text():
    summary = a_mail(a_letter(text="one\n\n  two\tthree " + "x" * 500)).summary()
    assert summary.preview.startswith("one two three xxx")
    assert len(summary.preview) == 140
    assert summary.to == "مریم حسینی"


def test_without_a_to_header_the_envelope_says_who_it_is_for():
    assert a_mail(b"Delivered-To: ana@example.com\r\n\r\n").to == [Party("", "ana@example.com")]


@pytest.mark.parametrize(
    "source",
    [
        b"",
        b"\x00\xff\xfe",
        b"Subject: =?no-such-charset?b?AAAA?=\r\n\r\n",
        b"Subject: =?utf-8?b?!!!?=\r\n\r\n",
        b"Subject: =?utf-8?q?=FF?=\r\nTo: <<>>,@@;:\r\nFrom: =?x\r\n\r\n",
        b"Content-Type: text/html; charset=no-such\r\n\r\n\xff",
        b"Content-Type: multipart/alternative; boundary=x\r\n\r\n--x\r\nContent-Type: text/plain",
        b"Content-Type: multipart/mixed\r\n\r\nno boundary",
        b"Content-Type: text/plain\r\nContent-Transfer-Encoding: base64\r\n\r\n!not base64!",
        b"Content-Type: text/html; charset*=utf-8''%ff\r\n\r\nx",
        b"Subject: \xd8\xb3\xd9\x84\xd8\xa7\xd9\x85\r\n\r\n",
        b"Content-Type: message/rfc822\r\n\r\nSubject: inner\r\n\r\nx",
    ],
)
def test_a_broken_mail_is_shown_as_well_as_it_can_be(source):
    mail = a_mail(source)
    assert isinstance(mail.summary().subject, str)
    assert isinstance(mail.html + mail.text + mail.source + mail.message_id, str)
    assert all(isinstance(name, str) and isinstance(value, str) for name, value in mail.headers())
    assert isinstance(mail.sender, list)
