"""Mails as their readers' programs see them: read back with the standard `email` parser, never by eye."""

import email
import email.policy
from datetime import UTC, datetime, timedelta
from email.header import decode_header, make_header
from email.message import EmailMessage
from email.utils import parseaddr
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from selectolax.lexbor import LexborHTMLParser

from services.mailer.compose import BadAddress, Mail, compose, message_id_for
from services.mailer.links import Links
from services.mailer.mime import parse_address
from services.mailer.templates import TemplateProblem
from shared.signing import Signer
from shared.wire import Entry, EventHistory
from tests.builders import A_PLAYBOOK_YAML, DELIVERY, NOON, a_lead, a_mailer_playbook, a_send, a_template

SIGNER = Signer(b"k" * 32)
LINKS = Links(SIGNER, "https://mail.acme.example")
OUT = LINKS.unsubscribe_url(DELIVERY)
PERSIAN = "سلام، به چای‌خانه خوش آمدید"
ARABIC = "مرحبًا بك في متجر الشاي"


def write(files: dict[str, bytes] | None = None, *, lead: dict[str, Any] | None = None, yaml: str = A_PLAYBOOK_YAML, **send: Any) -> Mail:
    playbook = a_mailer_playbook(files, yaml=yaml)
    message_id = message_id_for(DELIVERY, SIGNER, playbook.mail.from_.domain)
    return compose(playbook, a_send(**send), a_lead(**(lead or {})), LINKS, message_id, NOON)


def read(mail: Mail) -> EmailMessage:
    found = email.message_from_bytes(mail.data, policy=email.policy.default)
    assert isinstance(found, EmailMessage)
    assert not found.defects
    return found


def part(mail: Mail, kind: str) -> str:
    body = read(mail).get_body((kind,))
    assert body is not None
    return str(body.get_content()).replace("\r\n", "\n")


def mailbox(mail: Mail, header: str) -> tuple[str, str]:
    """Name and address. The newer parser of Python 3.11 leaves the space between encoded words in a name, so the older one reads it."""
    name, address = parseaddr(email.message_from_bytes(mail.data)[header])
    return str(make_header(decode_header(name))), address


def links_of(mail: Mail) -> list[str]:
    return [link.attributes["href"] or "" for link in LexborHTMLParser(part(mail, "html")).css("a[href]")]


def page(body: str) -> dict[str, bytes]:
    return {"welcome-1.html": a_template(body)}


def test_a_mail_is_what_its_headers_say() -> None:
    found = read(write(lead={"traits": {"name": "Ana"}}))
    assert found["From"] == "Acme <hello@acme.example>"
    assert found["To"] == "Ana <ana@example.com>"
    assert found["Reply-To"] == "care@acme.example"
    assert found["Subject"] == "Welcome"
    assert found["Date"].datetime == NOON
    assert found["Auto-Submitted"] == "auto-generated"
    assert found["MIME-Version"] == "1.0"
    assert found["List-Id"] == "Acme <welcome.acme.example>"
    assert [each.get_content_type() for each in found.iter_parts()] == ["text/plain", "text/html"]


def test_the_envelope_is_bare_addresses() -> None:
    mail = write(lead={"traits": {"name": "Ana"}})
    assert (mail.sender, mail.recipient, mail.subject) == ("hello@acme.example", "ana@example.com", "Welcome")


def test_every_line_is_short_ascii_and_ends_as_smtp_wants() -> None:
    long = a_template("<p>" + "سلام " * 3000 + "</p>", PERSIAN * 4)
    mail = write({"welcome-1.html": long}, lead={"traits": {"name": PERSIAN * 3}})
    assert mail.data.isascii()
    assert b"\n" not in mail.data.replace(b"\r\n", b"")
    assert max(map(len, mail.data.split(b"\r\n"))) <= 130  # List-Unsubscribe alone is longer than 76: it must not be folded
    assert mail.data.endswith(b"--\r\n")


def test_one_click_unsubscribe_stands_on_one_line_letter_for_letter() -> None:
    lines = write().data.decode().split("\r\n")
    assert f"List-Unsubscribe: <{OUT}>" in lines
    assert "List-Unsubscribe-Post: List-Unsubscribe=One-Click" in lines


def test_a_very_long_unsubscribe_address_is_not_folded_either() -> None:
    links = Links(SIGNER, "https://mail.acme.example/" + "x" * 300)
    mail = compose(a_mailer_playbook(), a_send(), a_lead(), links, "<m@acme.example>", NOON)
    assert f"\r\nList-Unsubscribe: <{links.unsubscribe_url(DELIVERY)}>\r\n" in mail.data.decode()


def test_a_transactional_mail_offers_no_list_to_leave() -> None:
    mail = write(category="transactional")
    assert not [name for name in read(mail) if name.startswith("List-")]
    assert OUT not in part(mail, "html")
    assert OUT not in part(mail, "plain")
    assert "1 High Street" in part(mail, "html")


def test_a_transactional_mail_that_shows_the_way_out_itself_has_one_click_too() -> None:
    mail = write(page('<p>Hello. <a href="{{ links.unsubscribe }}">No more letters</a></p>'), category="transactional")
    assert read(mail)["List-Unsubscribe"] == f"<{OUT}>"
    assert OUT in links_of(mail)


def test_the_list_is_the_topic_where_the_journey_has_one() -> None:
    assert read(write(topic="weekly digest"))["List-Id"] == "Acme <weekly-digest.acme.example>"


def test_the_message_id_is_the_same_on_every_attempt_and_differs_between_deliveries() -> None:
    one, again = write(), write()
    assert read(one)["Message-ID"] == read(again)["Message-ID"]
    assert one.data == again.data
    other = message_id_for("another", SIGNER, "acme.example")
    assert other != read(one)["Message-ID"]
    assert other.startswith("<")
    assert other.endswith("@acme.example>")
    assert DELIVERY not in one.data.decode()


@pytest.mark.parametrize("name", [PERSIAN, ARABIC, "José Ñandú 🍵", 'Ana "Tea" O\'Neil, Jr.', "=?utf-8?q?x?=", "ا" * 400, "Ana\\"])
def test_names_and_subjects_in_any_script_come_back_whole(name: str) -> None:
    mail = write({"welcome-1.html": a_template(subject="{{ lead.traits.name }}")}, lead={"traits": {"name": name}})
    assert read(mail)["Subject"] == name[:250] == mail.subject
    assert mailbox(mail, "To") == (name[:80], "ana@example.com")


def test_lines_with_encoded_words_keep_to_76_characters() -> None:
    mail = write({"welcome-1.html": a_template(subject=PERSIAN * 5)}, lead={"traits": {"name": PERSIAN * 5}})
    encoded = [line for line in mail.data.decode().split("\r\n") if "=?utf-8?" in line]
    assert len(encoded) > 5
    assert max(map(len, encoded)) <= 76


@pytest.mark.parametrize("evil", ["x\r\nBcc: a@b.example", "x\nBcc: a@b.example", "x\x0bBcc: y", "x\u2028Bcc: z", "\r\n\r\n<p>body"])
def test_no_value_can_add_a_header(evil: str) -> None:
    files = {"welcome-1.html": a_template("<p>x</p>", "Hi {{ lead.traits.name }} {{ entry.properties.x }}")}
    mail = write(files, lead={"traits": {"name": evil}}, topic=evil, journey=evil, entry=Entry(at=NOON, properties={"x": evil}))
    harmless = write(files, lead={"traits": {"name": "a"}}, entry=Entry(at=NOON, properties={"x": "b"}))
    assert list(read(mail).keys()) == list(read(harmless).keys())
    assert read(mail).get_content_type() == "multipart/alternative"


ECHO = a_mailer_playbook(
    {"welcome-1.html": a_template("<p title='{{ lead.traits.word }}'>{{ lead.traits.word }}</p>", "Hi {{ lead.traits.name }}")}
)


@given(st.text(max_size=120), st.text(max_size=120))
def test_no_text_whatever_breaks_a_mail(name: str, word: str) -> None:
    mail = compose(ECHO, a_send(), a_lead(traits={"name": name, "word": word}), LINKS, "<m@acme.example>", NOON)
    harmless = compose(ECHO, a_send(), a_lead(traits={"name": "a", "word": "b"}), LINKS, "<m@acme.example>", NOON)
    assert list(read(mail).keys()) == list(read(harmless).keys())
    assert mail.data.isascii()
    paragraph = LexborHTMLParser(part(mail, "html")).css_first(".sheet p")
    assert paragraph is not None
    assert not paragraph.css("*:not(p)")


NOT_ADDRESSES = ["", "ana", "ana@", "@x.example", "a b@x.example", "a@x.example\r\nRCPT TO:<b@x>", "a@b@c", "a@x..y", "a@-x.y", "a\0@x.y"]


@pytest.mark.parametrize("address", NOT_ADDRESSES)
def test_what_is_no_address_is_never_mailed(address: str) -> None:
    with pytest.raises(BadAddress):
        write(lead={"email": address})


def test_an_address_cannot_hide_behind_a_display_name() -> None:
    with pytest.raises(BadAddress):
        write(lead={"email": "x <ana@example.com>"})


def test_a_domain_in_any_script_is_written_in_ascii() -> None:
    mail = write(lead={"email": "ana@exämple.com"})
    assert mail.recipient == "ana@xn--exmple-cua.com"
    assert read(mail)["To"].addresses[0].addr_spec == "ana@xn--exmple-cua.com"
    assert parse_address("علی@چای.example").domain == "xn--mgb3qph.example"


def test_a_template_may_have_its_own_sender() -> None:
    files = {"welcome-1.html": a_template(**{"from": '"Mia, of Acme" <mia@acme.example>'})}
    assert mailbox(write(files), "From") == ("Mia, of Acme", "mia@acme.example")
    assert write(files).sender == "mia@acme.example"


def test_web_links_lead_through_us_and_are_numbered() -> None:
    mail = write(page('<p><a href="https://acme.example/a?x=1&amp;y=2">one</a> <a href="http://acme.example/b#c">two</a></p>'))
    first, *_ = [number for number, target in enumerate(mail.targets) if target == "https://acme.example/a?x=1&y=2"]
    assert mail.targets[first + 1] == "http://acme.example/b#c"
    assert LINKS.click_url(DELIVERY, first) in links_of(mail)
    assert "https://acme.example/a" not in part(mail, "html")


def test_other_links_stay_as_they_are() -> None:
    kept = ["mailto:care@acme.example", "tel:+35312345", "#top", OUT]
    mail = write(page("<p>" + "".join(f'<a href="{link}">x</a>' for link in kept) + "</p>"))
    assert set(kept) <= set(links_of(mail))
    assert OUT not in mail.targets


@pytest.mark.parametrize("href", ["javascript:alert(1)", "JaVa\tScript:alert(1)", " data:text/html,x", "vbscript:x", "file:///etc/passwd"])
def test_a_link_that_could_run_something_is_taken_out(href: str) -> None:
    mail = write(page('<p><a href="{{ entry.properties.url }}">x</a></p>'), entry=Entry(at=NOON, properties={"url": href}))
    assert not [link for link in links_of(mail) if "acme" not in link]
    assert href not in part(mail, "plain")


def test_a_target_is_fit_for_a_location_header() -> None:
    url = "https://چای.example/a b?q=é\r\nX: y"
    mail = write(page('<a href="{{ entry.properties.url }}">x</a>'), entry=Entry(at=NOON, properties={"url": url}))
    target = mail.targets[-1]
    assert target.isascii()
    assert target.isprintable()
    assert " " not in target
    assert target.startswith("https://xn--mgb3qph.example/a%20b?q=%C3%A9")


def test_the_text_part_says_what_the_page_says_with_its_links_written_out() -> None:
    body = '<h1>Hello</h1><p>Read <a href="https://acme.example/a">this</a>.</p><ul><li>one</li><li><p>two</p></li></ul><style>p{}</style>'
    text = part(write(page(body)), "plain")
    assert "Hello\n\nRead this (https://acme.example/a).\n\n- one\n- two\n" in text
    assert "/c/" not in text
    assert f"Unsubscribe ({OUT})" in text


def test_a_text_part_of_its_own_is_taken_and_gets_the_way_out() -> None:
    mail = write({"welcome-1.html": a_template(), "welcome-1.txt": b"Hi {{ lead.email }}, 1 < 2"})
    assert part(mail, "plain").startswith("Hi ana@example.com, 1 < 2\n\n-- \n")
    assert OUT in part(mail, "plain")


def test_a_marketing_mail_always_has_one_way_out_in_its_body() -> None:
    layout, whole = "<p>x</p>", "<!DOCTYPE html><html><body><p>x</p></body></html>"
    own = '<p>x <a href="{{ links.unsubscribe }}">stop</a></p>'
    for body in (layout, whole, own, whole.replace("<p>x</p>", own), "<html>"):
        assert links_of(write(page(body))).count(OUT) == 1


def test_a_whole_page_keeps_its_own_design_and_a_fragment_gets_ours() -> None:
    whole = part(write(page('<!DOCTYPE html><html lang="de"><body bgcolor="red"><p>x</p></body></html>')), "html")
    assert '<html lang="de" dir="ltr">' in whole
    assert 'bgcolor="red"' in whole
    assert 'class="sheet"' not in whole
    ours = part(write(page("<p>x</p>")), "html")
    assert ours.startswith("<!DOCTYPE html>")
    assert 'class="sheet"' in ours


def test_styles_are_inlined_and_media_queries_kept() -> None:
    style = "<style>p{color:red} @media (max-width:9px){p{color:blue}}</style>"
    html = part(write(page(f"<html><head>{style}</head><body><p>x</p></body></html>")), "html")
    assert '<p style="color: red;">' in html
    assert "@media (max-width:9px)" in html


def test_no_stylesheet_is_fetched_from_anywhere() -> None:
    links = [f'<link rel="stylesheet" href="{place}">' for place in ("file:///etc/passwd", "/etc/passwd", "http://127.0.0.1:1/x")]
    html = part(write(page("".join(links) + "<p>x</p>")), "html")
    assert "root:" not in html
    assert ">x</p>" in html


def test_the_preheader_is_hidden_first_and_not_in_the_text() -> None:
    mail = write({"welcome-1.html": a_template(preheader="A <warm> word")})
    body = LexborHTMLParser(part(mail, "html")).body
    assert body is not None
    assert body.first_child is not None
    assert "display:none" in (body.first_child.attributes["style"] or "")
    assert body.first_child.text().startswith("A <warm> word")
    assert "warm" not in part(mail, "plain")


def test_a_pixel_tells_of_opening() -> None:
    images = LexborHTMLParser(part(write(), "html")).css("img")
    assert [image.attributes["src"] for image in images] == [LINKS.open_url(DELIVERY)]


def test_a_reader_gets_his_languages_variant_and_direction() -> None:
    files = {"welcome-1.html": a_template(), "welcome-1.fa.html": a_template(f"<p>{PERSIAN}</p>", PERSIAN)}
    persian, other = write(files, lead={"locale": "fa-IR"}), write(files, lead={"locale": "sv"})
    assert '<html lang="fa" dir="rtl">' in part(persian, "html")
    assert "لغو اشتراک" in part(persian, "html")
    assert read(persian)["Subject"] == PERSIAN
    assert '<html lang="en" dir="ltr">' in part(other, "html")


def test_the_houses_language_comes_before_the_plain_variant() -> None:
    files = {"welcome-1.html": a_template(), "welcome-1.fa.html": a_template(f"<p>{PERSIAN}</p>", PERSIAN)}
    yaml = A_PLAYBOOK_YAML.replace("locale: en", "locale: fa")
    for locale in (None, "de"):
        mail = write(files, lead={"locale": locale}, yaml=yaml)
        assert mail.subject == PERSIAN
        assert '<html lang="fa" dir="rtl">' in part(mail, "html")


def test_a_variant_has_its_own_subject_preheader_and_sender() -> None:
    own = a_template(f"<p>{PERSIAN}</p>", PERSIAN, preheader="پیش‌نمایش", **{"from": '"چای" <chai@acme.example>'})
    mail = write({"welcome-1.html": a_template(preheader="A look ahead"), "welcome-1.fa.html": own}, lead={"locale": "fa"})
    assert (mail.subject, mailbox(mail, "From")) == (PERSIAN, ("چای", "chai@acme.example"))
    assert "پیش‌نمایش" in part(mail, "html")
    assert "A look ahead" not in part(mail, "html")


def test_the_foot_speaks_the_readers_language_also_where_the_mail_does_not() -> None:
    html = part(write(lead={"locale": "ar-EG"}), "html")
    assert '<html lang="en" dir="ltr">' in html
    foot = LexborHTMLParser(html).css_first(".foot > div")
    assert foot is not None
    assert (foot.attributes["lang"], foot.attributes["dir"]) == ("ar", "rtl")
    assert "إلغاء الاشتراك" in foot.text()
    text = part(write({"welcome-1.html": a_template(), "welcome-1.txt": b"Hi"}, lead={"locale": "ar-EG"}), "plain")
    assert "\u2068Acme\u2069" in text


@pytest.mark.parametrize(("locale", "lang"), [("de", "en"), (None, "en"), ("fa", "fa")])
def test_the_foot_falls_back_to_the_mails_language(locale: str | None, lang: str) -> None:
    assert f'<div lang="{lang}"' in part(write(lead={"locale": locale}), "html")


def test_names_in_a_right_to_left_mail_are_kept_apart() -> None:
    files = {
        "welcome-1.html": a_template(),
        "welcome-1.fa.html": a_template("<p>{{ lead.traits.name | bdi }} (1)</p>", "{{ lead.traits.name | bdi }}"),
    }
    mail = write(files, lead={"locale": "fa", "traits": {"name": "Ana \u202e<b>"}})
    html = part(mail, "html")
    assert "<bdi>Ana &lt;b&gt;</bdi> (1)" in html
    assert mail.subject == "\u2068Ana <b>\u2069"
    foot = LexborHTMLParser(html).css_first(".foot")
    assert foot is not None
    assert [name.text() for name in foot.css("bdi")] == ["Acme", "Acme", "1 High Street, Dublin"]


def test_the_way_to_the_preferences_stands_beside_the_way_out_once_and_counts_no_clicks() -> None:
    choices = LINKS.preferences_url(DELIVERY)
    own_way_out = '<p>x <a href="{{ links.unsubscribe }}">stop</a></p>'
    own_choices = '<p><a href="{{ links.preferences }}">choose</a></p>'
    for body in ("<p>x</p>", own_way_out, own_choices, "<!DOCTYPE html><html><body><p>x</p></body></html>"):
        mail = write(page(body))
        assert links_of(mail).count(choices) == 1
        assert choices not in mail.targets
    assert choices not in part(write(category="transactional"), "html")


def test_a_mail_that_names_its_address_goes_there_without_a_name() -> None:
    mail = write(lead={"traits": {"name": "Ana"}}, to="bo@example.com", category="transactional")
    assert (mail.recipient, read(mail)["To"]) == ("bo@example.com", "bo@example.com")


def test_a_whole_page_in_a_right_to_left_language_is_given_its_direction() -> None:
    files = {"welcome-1.html": a_template(), "welcome-1.ar.html": a_template(f"<html><body><p>{ARABIC}</p></body></html>", ARABIC)}
    html = part(write(files, lead={"locale": "ar"}), "html")
    assert 'lang="ar"' in html
    assert 'dir="rtl"' in html
    assert "إلغاء الاشتراك" in html


def test_a_sender_who_writes_arabic_writes_from_right_to_left() -> None:
    html = part(write(yaml=A_PLAYBOOK_YAML.replace("locale: en", "locale: ar")), "html")
    assert '<html lang="ar" dir="rtl">' in html


def test_markdown_becomes_a_page_and_values_stay_words() -> None:
    links = "[Read]({{ entry.properties.url }}) or [stop]({{ links.unsubscribe }}), <b>bold</b>"
    body = f"# Hello {{{{ lead.traits.name }}}}\n\n{links}\n\n| a | b |\n|---|---|\n| 1 | 2 |\n"
    lead = {"traits": {"name": "*[x](https://evil.example)* <i>"}}
    mail = write(
        {"welcome-1.md": a_template(body)}, lead=lead, entry=Entry(at=NOON, properties={"url": "https://acme.example/a_b?c=d&e=f"})
    )
    html = part(mail, "html")
    assert ">Hello *[x](https://evil.example)* &lt;i&gt;</h1>" in html
    assert mail.targets[-1] == "https://acme.example/a_b?c=d&e=f"
    assert OUT in links_of(mail)
    assert "&lt;b&gt;bold" in html
    assert "<td" in html


def test_what_a_template_sees_of_the_walk() -> None:
    body = "{{ entry.event }} {{ entry.properties.title }} {{ key }} {{ steps.ask.event }} {{ brand.name }} {{ (now - entered_at).days }}"
    entry = Entry(at=NOON, event="Ebook Downloaded", properties={"title": "Green & black"})
    send = a_send(entry=entry, key="c1", steps={"ask": {"event": "Clicked"}})
    playbook = a_mailer_playbook({"welcome-1.html": a_template(body)})
    mail = compose(playbook, send, a_lead(), LINKS, "<m@acme.example>", datetime(2027, 4, 1, tzinfo=UTC), now=NOON + timedelta(days=2))
    assert "Ebook Downloaded Green & black c1 Clicked Acme 2" in part(mail, "plain")


def test_the_lead_is_who_he_is_now_scored_as_he_was_when_it_was_decided() -> None:
    body = "{{ lead.traits.name }} {{ lead.readiness }} {{ lead.orders.count }}"
    decided = a_lead(readiness=9, traits={"name": "Old"})
    mail = compose(a_mailer_playbook(page(body)), a_send(lead=decided), a_lead(traits={"name": "New"}), LINKS, "<m@acme.example>", NOON)
    assert "New 9 0" in part(mail, "plain")


def test_what_a_lead_did_can_be_counted_and_what_he_never_did_is_nought() -> None:
    orders = EventHistory(count=3, last_at=NOON, last={"total": 40}, days={"2027-02-27": 2, "2026-12-01": 1})
    said = "{{ did.count }} {{ did.last.total }} {{ did.count_within('30d') }} {{ lead.events['Order Refunded'].count }}"
    body = "{% set did = lead.events['Order Completed'] %}" + said + "{% if lead.events['Order Refunded'].last_at %}!{% endif %}"
    mail = write(page(f"<p>{body}</p>"), lead={"events": {"Order Completed": orders}})
    assert "3 40 2 0\n" in part(mail, "plain")
    with pytest.raises(TemplateProblem, match="is not a duration"):
        write(page("{{ lead.events.Ordered.count_within('soon') }}"))


def test_a_template_that_is_not_there_holds_the_mail() -> None:
    with pytest.raises(TemplateProblem, match="there is no template `welcome-9` in playbook v1: add"):
        write(template="welcome-9")


def test_an_undefined_name_holds_the_whole_mail() -> None:
    with pytest.raises(TemplateProblem, match=r"templates/welcome-1\.html:4: `nam` is missing"):
        write(page("<p>Hi {{ lead.traits.nam }}</p>"))
    with pytest.raises(TemplateProblem, match=r"templates/welcome-1\.html:2: `nam` is missing"):
        write({"welcome-1.html": a_template(subject="Hi {{ lead.traits.nam }}")})


def test_a_mail_without_a_subject_is_held() -> None:
    with pytest.raises(TemplateProblem, match="the subject is empty"):
        write({"welcome-1.html": a_template(subject="{{ '' }}")})


def test_a_strange_zone_of_a_lead_does_not_stop_his_mail() -> None:
    for zone in ("Mars/Olympus", "../../etc/passwd", "", "Europe"):
        assert "12:00" in part(write(page("{{ entered_at | date('%H:%M') }}"), lead={"timezone": zone}), "plain")


def test_another_template_may_stand_in() -> None:
    files = {"welcome-1.html": a_template(), "note.html": a_template(subject="Note")}
    mail = compose(a_mailer_playbook(files), a_send(), a_lead(), LINKS, "<m@acme.example>", NOON, template="note")
    assert mail.subject == "Note"
