"""What a relay says, and what that means."""

from datetime import timedelta

import pytest

from services.mailer import replies
from services.mailer.outcomes import Deferred, Delivered, Held, Refused
from services.mailer.relay import Relay, parse_smtp_url
from shared.errors import ConfigurationError


@pytest.mark.parametrize(
    ("text", "dead", "ours"),
    [
        ("5.1.1 no such user", True, False),
        ("5.1.2 bad domain", True, False),
        ("5.1.10 null MX", True, False),
        ("5.4.4 no route", True, False),
        ("no such user here", False, False),
        ("5.2.2 mailbox full", False, False),
        ("5.1.8 bad sender", False, True),
        ("5.7.1 relaying denied", False, True),
        ("5.7.26 unauthenticated", False, True),
        ("5.1.100 unheard of", False, False),
    ],
)
def test_5xx_to_the_recipient_fails_and_only_a_dead_address_is_marked(text: str, dead: bool, ours: bool) -> None:
    assert replies.to_recipient(550, text) == Refused("recipient_refused", dead, ours, f"550 {text}")


def test_4xx_waits() -> None:
    assert replies.to_recipient(451, "4.7.1 greylisted") == Deferred("relay_deferred", None, "451 4.7.1 greylisted")
    assert replies.to_sender(452, "busy") == Deferred("relay_deferred", None, "452 busy")


@pytest.mark.parametrize(
    ("text", "pause"),
    [
        ("try again in 300 seconds", timedelta(minutes=5)),
        ("come back in 5 minutes", timedelta(minutes=5)),
        ("wait 1 hour", timedelta(hours=1)),
    ],
)
def test_greylisting_may_say_how_long(text: str, pause: timedelta) -> None:
    answer = replies.to_recipient(450, text)
    assert isinstance(answer, Deferred)
    assert answer.retry_after == pause


def test_421_holds_the_relay() -> None:
    assert isinstance(replies.to_sender(421, "too many connections"), Held)
    assert isinstance(replies.to_recipient(421, "too many connections"), Held)


def test_a_refused_sender_is_our_trouble_and_may_be_mended() -> None:
    assert replies.to_sender(550, "no") == Deferred("sender_refused", detail="550 no", ours=True)


def test_the_answer_to_a_mail() -> None:
    assert replies.to_mail(250, "2.0.0 queued") == Delivered("250 2.0.0 queued")
    assert replies.to_mail(451, "later") == Deferred("relay_deferred", None, "451 later")
    assert replies.to_mail(554, "5.7.1 spam") == Refused("mail_refused", ours=True, detail="554 5.7.1 spam")
    assert replies.to_mail(550, "5.1.1 nobody") == Refused("recipient_refused", True, False, "550 5.1.1 nobody")
    assert replies.to_mail(354, "?") is None


@pytest.mark.parametrize(
    ("url", "relay"),
    [
        ("smtp://127.0.0.1:2525", Relay("127.0.0.1", 2525)),
        ("smtp://relay.example", Relay("relay.example", 25)),
        ("smtp://ana%40x:p%3Ass@relay.example", Relay("relay.example", 587, False, "ana@x", "p:ss")),
        ("smtps://ana:pw@relay.example", Relay("relay.example", 465, True, "ana", "pw")),
    ],
)
def test_the_relays_url(url: str, relay: Relay) -> None:
    assert parse_smtp_url(url) == relay


@pytest.mark.parametrize("url", ["http://relay.example", "relay.example:25", "smtp://", "smtp://u:topsecret@h:port"])
def test_a_wrong_url_is_refused_without_repeating_its_password(url: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        parse_smtp_url(url)
    assert "topsecret" not in str(refused.value)


def test_a_relay_that_gets_a_password_must_prove_its_name() -> None:
    assert parse_smtp_url("smtp://u:p@relay.example").must_prove_its_name
    assert parse_smtp_url("smtps://relay.example").must_prove_its_name
    assert not parse_smtp_url("smtp://relay.example").must_prove_its_name
    assert "topsecret" not in repr(parse_smtp_url("smtp://u:topsecret@relay.example"))
