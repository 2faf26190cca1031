"""One stored mail, read as mail programs read it."""

from email.message import EmailMessage

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


def test_the_summary_is_one_line_of_the_page_beginning_with_what_an_inbox_shows():
    hidden = '<div style="display:none">Three things&#847;&zwnj;&nbsp;&#847;&zwnj;&nbsp;</div>'
    page = f"<html><head><style>p {{ color: red }}</style></head><body>{hidden}<p>می‌نویسیم\n\n  two\tthree {'x' * 500}</p></body></html>"
    summary = a_mail(a_letter(page)).summary()
    assert summary.preview.startswith("Three things")
    assert summary.preview.partition("می‌نویسیم")[2].startswith(" two three xxx")
    assert len(summary.preview) == 140
    assert summary.to == "مریم حسینی"


def test_the_summary_of_a_mail_without_a_page_is_one_line_of_its_text():
    message = EmailMessage()
    message.set_content("one\n\n  two\tthree <b>")
    assert a_mail(bytes(message)).summary().preview == "one two three <b>"
