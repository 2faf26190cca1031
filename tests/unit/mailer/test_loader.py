"""The mailer's part of playbook.yaml: what it means, what is wrong with it, and what is not there yet."""

from datetime import time, timedelta
from zoneinfo import ZoneInfo

import pytest

from services.mailer.caps import Cap
from services.mailer.loader import load
from services.mailer.opt_in import OptIn
from services.mailer.policy import Policy
from services.mailer.quiet import QuietHours
from services.mailer.sla import WorkingHours
from shared.documents import PlaybookError
from tests.builders import A_PLAYBOOK_YAML, A_SECRET, a_mailer_playbook, a_template

ENDPOINTS = 'endpoints:\n  sales: {url: "${SALES_URL}", secret: "${SALES_SECRET}"}\n'


def troubles(yaml: str, environ: dict[str, str] | None = None, **templates: bytes) -> list[str]:
    files = {"playbook.yaml": yaml.encode()} | {f"templates/{name}.html": page for name, page in templates.items()}
    with pytest.raises(PlaybookError) as found:
        load(files, environ or {}, "v1")
    return [str(trouble) for trouble in found.value.troubles]


def test_a_playbook_says_who_writes_and_how() -> None:
    playbook = a_mailer_playbook(yaml=A_PLAYBOOK_YAML + "topics: {offers: Offers}\norders: {event: Order Completed}\n")
    assert playbook.mail.from_.header() == "Acme <hello@acme.example>"
    assert playbook.mail.reply_to is not None
    assert playbook.mail.reply_to.bare == "care@acme.example"
    assert (playbook.mail.timezone, playbook.mail.locale) == ("Europe/Dublin", "en")
    assert playbook.brand == {"name": "Acme", "url": "https://acme.example", "address": "1 High Street, Dublin", "logo": None}
    assert playbook.topics == {"offers": "Offers"}
    assert list(playbook.templates) == ["welcome-1"]


def test_what_is_left_out_has_the_defaults_of_the_language() -> None:
    playbook = a_mailer_playbook(yaml="name: Starter\nmail: {from: hello@acme.example}\n")
    assert (playbook.mail.in_doubt_marketing, playbook.mail.in_doubt_transactional) == ("hold", "retry")
    assert (playbook.mail.timezone, playbook.mail.locale, playbook.mail.reply_to) == ("UTC", "en", None)
    assert (playbook.policy, playbook.opt_in) == (Policy(), OptIn(frozenset(), timedelta(days=7), 500))
    assert playbook.brand["name"] == "Starter"
    assert a_mailer_playbook(yaml="mail: {from: hello@acme.example}\n").brand["name"] == "acme.example"


def test_when_marketing_may_go_and_who_is_asked_first() -> None:
    mail = """\
mail:
  from: hello@acme.example
  timezone: Asia/Tehran
  quiet_hours: {from: "21:00", to: "08:00", days: [fri], on_hit: skip}
  frequency_cap: [{messages: 1, per: 20h}, {messages: 3, per: 7d, on_hit: defer}]
consent: {events: [Newsletter Subscribed], confirmations: {per_address: 1d, per_hour: 5}}
"""
    playbook = a_mailer_playbook(yaml=mail)
    caps = (Cap(1, timedelta(hours=20)), Cap(3, timedelta(days=7), skips=False))
    assert playbook.policy == Policy(QuietHours(time(21), time(8), frozenset({4}), skips=True), caps, "Asia/Tehran")
    assert playbook.opt_in == OptIn(frozenset({"Newsletter Subscribed"}), timedelta(days=1), 5)
    rate = "rate: {per_second: 20, per_domain: {GMail.com: 0.5}}"
    paced = a_mailer_playbook(yaml=f"mail: {{from: A <a@Acme.example>, {rate}, warm_up: true}}\n")
    assert (paced.policy.rates, paced.policy.warm_up) == ({"relay": 20, "relay:gmail.com": 0.5}, "acme.example")
    single = a_mailer_playbook(yaml=mail.replace("confirmations:", "from_browser: single, confirmations:"))
    assert single.opt_in.events == frozenset()


def test_an_endpoint_takes_its_secret_from_the_environment_and_two_during_a_change() -> None:
    playbook = a_mailer_playbook(yaml=A_PLAYBOOK_YAML + ENDPOINTS, SALES_URL="https://sales.example/in", SALES_SECRET=A_SECRET)
    assert playbook.endpoints["sales"].url == "https://sales.example/in"
    assert playbook.endpoints["sales"].secrets == (A_SECRET,)
    both = ENDPOINTS.replace('"${SALES_SECRET}"', '["${NEW}", "${SALES_SECRET}"]')
    changing = a_mailer_playbook(yaml=A_PLAYBOOK_YAML + both, SALES_URL="https://x.example", SALES_SECRET=A_SECRET, NEW=A_SECRET + "AAAA")
    assert changing.endpoints["sales"].secrets == (A_SECRET + "AAAA", A_SECRET)


def test_a_missing_variable_is_named_at_its_place_and_nothing_else_is_said_of_that_value() -> None:
    assert troubles(A_PLAYBOOK_YAML + ENDPOINTS) == [
        "playbook.yaml:5:16: `${SALES_URL}` is not set: set SALES_URL in the environment or in .env",
        "playbook.yaml:5:40: `${SALES_SECRET}` is not set: set SALES_SECRET in the environment or in .env",
    ]


def test_a_secret_is_never_quoted_in_an_error() -> None:
    found = troubles(A_PLAYBOOK_YAML + ENDPOINTS, {"SALES_URL": "https://x.example", "SALES_SECRET": "hunter2"})
    assert len(found) == 1
    assert "whsec_" in found[0]
    assert "hunter2" not in found[0]


@pytest.mark.parametrize(
    ("yaml", "said"),
    [
        ("name: x\n", "playbook.yaml:1:1: the key `mail` is missing here"),
        ("mail: {form: a@b.example}\n", "did you mean `from`?"),
        ("mail: {from: nobody}\n", "playbook.yaml:1:14: `nobody` is not a mail address"),
        ("mail: {from: a@b.example, reply_to: x}\n", "`x` is not a mail address"),
        ("mail: {from: a@b.example, timezone: Europe/Dubbelin}\n", "there is no zone `Europe/Dubbelin`"),
        ("mail: {from: a@b.example, timezone: ../etc/passwd}\n", "there is no zone"),
        ("mail: {from: a@b.example, locale: english}\n", "playbook.yaml:1:35"),
        ("mail: {from: a@b.example, in_doubt: {marketing: maybe}}\n", "`hold`"),
        ("mail: {from: a@b.example, quiet_hours: {from: '21:00'}}\n", "playbook.yaml:1:40: `from` and `to` stand together"),
        ("mail: {from: a@b.example, quiet_hours: {from: '21:00', to: '8:00'}}\n", "playbook.yaml:1:60: `8:00` is no clock time"),
        ("mail: {from: a@b.example, quiet_hours: {from: '21:00', to: '24:30'}}\n", "`24:30` is no clock time"),
        ("mail: {from: a@b.example, quiet_hours: {from: '21:00', to: '21:00'}}\n", "playbook.yaml:1:60: `from` and `to` are the same time"),
        ("mail: {from: a@b.example, quiet_hours: {on_hit: skip}}\n", "playbook.yaml:1:40: this is never"),
        ("mail: {from: a@b.example, quiet_hours: {days: [friday]}}\n", "playbook.yaml:1:48"),
        (
            "mail: {from: a@b.example, quiet_hours: {days: [mon, tue, wed, thu, fri, sat, sun]}}\n",
            "playbook.yaml:1:47: every day is quiet",
        ),
        ("mail: {from: a@b.example, quiet_hours: {form: '21:00', to: '08:00'}}\n", "did you mean `from`?"),
        ("mail: {from: a@b.example, quiet_hours: {days: [fri], on_hit: drop}}\n", "`defer`"),
        ("mail: {from: a@b.example, frequency_cap: {messages: 1, per: 1d}}\n", "playbook.yaml:1:42"),
        ("mail: {from: a@b.example, frequency_cap: [{messages: 0, per: 1d}]}\n", "playbook.yaml:1:54"),
        ("mail: {from: a@b.example, frequency_cap: [{messages: 1}]}\n", "the key `per` is missing here"),
        ("mail: {from: a@b.example, frequency_cap: [{messages: 1, per: 0d}]}\n", "a duration above zero is needed here"),
        ("mail: {from: a@b.example, frequency_cap: [{messages: 1, per: 20 hours}]}\n", "is not a duration"),
        ("mail: {from: a@b.example}\nconsent: {events: [Email Sent]}\n", "playbook.yaml:2:20: `Email Sent` is told by Dripline itself"),
        ("mail: {from: a@b.example}\nconsent: {from_browser: double}\n", "`double_opt_in`"),
        ("mail: {from: a@b.example}\nconsent: {confirmations: {per_adress: 7d}}\n", "did you mean `per_address`?"),
        ("mail: {from: a@b.example}\nconsent: {confirmations: {per_hour: -1}}\n", "playbook.yaml:2:37"),
        ("mail: {from: a@b.example, rate: {}}\n", "this limits nothing"),
        ("mail: {from: a@b.example, rate: {per_second: 0}}\n", "greater than or equal to 0.01"),
        ("mail: {from: a@b.example, rate: {per_domain: {g mail: 5}}}\n", "`g mail` is not a domain"),
        ("mail: {from: a@b.example, warm_up: 3}\n", "expected true or false"),
        ("mail: {from: a@b.example}\nbrand: {nam: x}\n", "did you mean `name`?"),
        ("mail: {from: a@b.example}\nbrand: {url: acme}\n", "playbook.yaml:2:14: this is not a web address"),
        ("mail: {from: a@b.example}\nendpoints: {s: {url: 'ftp://x', secret: s}}\n", "this is not a web address"),
        ("mail: {from: a@b.example}\nendpoints: {s: {url: 'https://u:p@x.example', secret: s}}\n", "no user name or password"),
        ("mail: {from: a@b.example}\nendpoints: {s: {url: 'https://x.example', secret: []}}\n", "playbook.yaml:2"),
        ("mail: {from: a@b.example}\nendpoints: {s: {url: 'https://x.example', secret: whsec_c2hvcnQ=}}\n", "24 to 64 random bytes"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(yaml: str, said: str) -> None:
    assert any(said in trouble for trouble in troubles(yaml)), troubles(yaml)


def test_troubles_of_settings_and_templates_come_together() -> None:
    found = troubles("mail: {from: nobody}\n", w=a_template("{{ leda }}"), v=b"")
    assert [trouble.partition(":")[0] for trouble in found] == ["playbook.yaml", "templates/v.html", "templates/w.html"]


def test_the_mail_that_asks_has_its_link_and_no_other_mail_has_it() -> None:
    stray = a_template("<p>Hi</p>\n<a href='{{ links.confirm }}'>yes</a>")
    found = troubles(A_PLAYBOOK_YAML, w=stray, confirm=a_template("<p>Is it you?</p>"))
    assert found == [
        "templates/confirm.html:1:1: this is the mail by which readers confirm their address: it needs `{{ links.confirm }}`",
        "templates/w.html:5:1: `links.confirm` stands only in templates/confirm.html, the mail that `consent.events` send",
    ]


def test_a_folder_without_playbook_yaml_is_said() -> None:
    with pytest.raises(PlaybookError, match=r"no playbook\.yaml"):
        load({}, {}, "v1")


HOURS = A_PLAYBOOK_YAML + 'working_hours: {days: [sat, sun, mon], from: "09:00", to: TO, timezone: ZONE}\n'


def test_working_hours_are_read_with_the_zone_of_the_mail_where_they_name_none() -> None:
    found = a_mailer_playbook(yaml=HOURS.replace("TO", "24:00").replace(", timezone: ZONE", "")).working_hours
    assert found == WorkingHours(frozenset({5, 6, 0}), time(9), time(0), ZoneInfo("Europe/Dublin"))
    assert a_mailer_playbook().working_hours is None


@pytest.mark.parametrize(
    ("closes", "zone", "trouble"),
    [
        ("08:00", "Asia/Tehran", "work ends at 08:00 before it begins at 09:00"),
        ("17:00", "Teheran", "there is no zone `Teheran`"),
        ("25:00", "Asia/Tehran", "`25:00` is no clock time: write one from 00:00 to 24:00"),
    ],
)
def test_working_hours_that_cannot_be_are_named_with_their_place(closes: str, zone: str, trouble: str) -> None:
    with pytest.raises(PlaybookError) as caught:
        a_mailer_playbook(yaml=HOURS.replace("TO", closes).replace("ZONE", zone))
    [found] = caught.value.troubles
    assert (found.file, found.line) == ("playbook.yaml", HOURS.count("\n"))
    assert trouble in str(found)
