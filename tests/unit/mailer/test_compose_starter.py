"""The starter playbook's mails are written for every reader it can meet, also for one of whom only the address is known."""

import email
import email.policy
import re
from pathlib import Path

import pytest

from dripline.environment import playbook_environment
from services.mailer.compose import Mail, compose
from services.mailer.links import Links
from services.mailer.loader import load
from shared.playbooks import read_folder
from shared.signing import Signer
from shared.wire import Entry, Orders
from tests.builders import A_SECRET, NOON, a_lead, a_send

FILES = read_folder(Path(__file__).parents[3] / "playbooks" / "starter").files
STARTER = load(FILES, playbook_environment(secret=A_SECRET), "v1")
LINKS = Links(Signer(b"k" * 32), "http://127.0.0.1:8300")
ARABIC_SCRIPT = re.compile("[\u0600-\u06ff]")


def write(template: str, traits: dict[str, str | None], event: str = "Signed Up", locale: str | None = None, **properties: object) -> Mail:
    send = a_send(template, entry=Entry(at=NOON, event=event, properties=properties))
    return compose(STARTER, send, a_lead(traits=traits, locale=locale), LINKS, "<m@acme.example>", NOON)


def page_of(mail: Mail) -> str:
    body = email.message_from_bytes(mail.data, policy=email.policy.default).get_body(("html",))
    assert body is not None
    return str(body.get_content())


@pytest.mark.parametrize("event", ["Signed Up", "Ebook Downloaded"])
@pytest.mark.parametrize("traits", [{}, {"name": None}, {"name": "Ana"}])
@pytest.mark.parametrize("template", sorted(STARTER.templates))
def test_every_mail_of_the_starter_is_written(template: str, traits: dict[str, str | None], event: str) -> None:
    mail = write(template, traits, event)
    assert mail.subject
    assert mail.targets
    assert len(mail.data) < 16_000


@pytest.mark.parametrize("template", sorted(STARTER.templates))
def test_every_mail_says_in_the_inbox_what_it_is_about(template: str) -> None:
    files = [text.decode() for name, text in FILES.items() if name.startswith(f"templates/{template}.")]
    assert files
    for text in files:
        assert re.match(r"---\nsubject: .{10,}\npreheader: .{20,}\n---\n", text)


@pytest.mark.parametrize(("locale", "hello"), [("fa-IR", "سلام"), ("ar", "مرحبًا")])
@pytest.mark.parametrize("template", ["welcome-1", "welcome-2", "welcome-3"])
def test_the_welcome_speaks_persian_and_arabic_from_right_to_left(template: str, locale: str, hello: str) -> None:
    mail = write(template, {"name": "سارا"}, locale=locale)
    page = page_of(mail)
    assert re.search(rf'<html[^>]* lang="{locale[:2]}"[^>]* dir="rtl"|<html[^>]* dir="rtl"[^>]* lang="{locale[:2]}"', page)
    assert hello in page
    assert "Hello" not in page
    assert ARABIC_SCRIPT.search(mail.subject)


def test_a_cart_is_named_by_what_is_in_it() -> None:
    page = page_of(write("cart-reminder", {"name": "Ana"}, products=[{"name": "Sencha", "quantity": 2}], value=24))
    for said in ("Sencha", "<td", "€24"):
        assert said in page
    assert write("cart-reminder", {"name": "Ana"}).subject == "Ana, your cart is still here"
    assert write("cart-reminder", {}).subject == "Your cart is still here"


def test_a_sleeping_customer_is_told_when_the_last_parcel_left() -> None:
    lead = a_lead(orders=Orders(count=2, total=50.0, last_at=NOON))
    assert "left us on 1 March" in page_of(compose(STARTER, a_send("win-back-1"), lead, LINKS, "<m@acme.example>", NOON))
