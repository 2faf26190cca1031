"""What a hand-off says, how it is signed, and which addresses it may go to."""

import json
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook, WebhookVerificationError

from services.mailer.networks import is_public
from services.mailer.webhook import signed_headers, webhook_body
from shared.clock import real_now
from shared.wire import Reason
from tests.builders import A_SECRET, NOON, a_lead, a_send

OLD_SECRET = "whsec_" + "T2xkU2VjcmV0T2xkU2VjcmV0T2xkU2VjcmV0"


PRIVATE = """
0.0.0.0 10.1.2.3 100.64.0.1 127.0.0.1 127.255.255.254 169.254.169.254 172.16.0.1 172.31.255.255 192.0.0.8 192.0.2.1 192.88.99.1
192.168.1.1 198.18.0.1 198.51.100.1 203.0.113.1 224.0.0.1 239.1.1.1 240.0.0.1 255.255.255.255
:: ::1 ::127.0.0.1 ::ffff:127.0.0.1 ::ffff:10.0.0.1 ::ffff:a9fe:a9fe 64:ff9b::127.0.0.1 64:ff9b::a00:1 64:ff9b:1::1 100::1 2001::1
2001:db8::1 2002:7f00:1:: 2002:808:808::1 3fff::1 5f00::1 fc00::1 fd12::1 fe80::1 fe80::1%eth0 fec0::1 ff02::1
"""
PUBLIC = "1.1.1.1 8.8.8.8 172.32.0.1 192.169.0.1 2606:4700::1111 64:ff9b::8.8.8.8 ::ffff:8.8.8.8"


@pytest.mark.parametrize("address", PRIVATE.split())
def test_no_webhook_goes_into_our_own_networks(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", PUBLIC.split())
def test_the_public_internet_can_be_reached(address: str) -> None:
    assert is_public(address)


@given(st.ip_addresses(v=4, network="10.0.0.0/8") | st.ip_addresses(v=4, network="127.0.0.0/8"))
def test_an_ipv4_address_in_ipv6_clothes_is_still_private(address: object) -> None:
    assert not is_public(f"::ffff:{address}")
    assert not is_public(f"64:ff9b::{address}")
    assert not is_public(f"::{address}")


def test_a_handoff_says_who_and_why_and_where_to_answer() -> None:
    reasons = [Reason("paid_link", "at_least", 9.0, 1, NOON, "clicked the paid link")] + [Reason(f"r{i}", "add", 0.1) for i in range(6)]
    lead = a_lead(readiness=9, points=9.0, hot=True, traits={"name": "آنا"}, reasons=reasons)
    send = a_send(kind="handoff", template="", endpoint="sales", lead=lead, sequence=7, note="Call today")
    told = json.loads(webhook_body(send, "h1", "https://mail.acme.example/hooks/handoff/t"))
    assert (told["type"], told["timestamp"]) == ("lead.hot", "2027-03-01T12:00:00Z")
    found = told["data"]
    assert found["lead"]["email"] == "ana@example.com"
    assert found["lead"]["traits"] == {"name": "آنا"}
    assert (found["readiness"], found["journey"], found["handoff_id"], found["sequence"]) == (9, "welcome", "h1", 7)
    assert (found["note"], found["respond_url"]) == ("Call today", "https://mail.acme.example/hooks/handoff/t")
    assert len(found["reasons"]) == 5
    assert found["reasons"][0] == {
        "rule": "paid_link",
        "kind": "at_least",
        "points": 9.0,
        "count": 1,
        "at": "2027-03-01T12:00:00Z",
        "text": "clicked the paid link",
    }


def test_a_handoff_of_a_lead_with_nothing_names_every_key_all_the_same() -> None:
    told = json.loads(webhook_body(a_send(kind="handoff", lead=a_lead(email=None, user_id=None)), "h1", None))
    assert told["data"]["lead"]["email"] is None
    assert told["data"]["lead"]["tags"] == []
    assert told["data"]["respond_url"] is None


def test_the_signature_is_verified_by_the_standards_own_library() -> None:
    body = webhook_body(a_send(kind="handoff", lead=a_lead(traits={"name": "آنا"})), "h1", None)
    headers = signed_headers((A_SECRET,), "msg-1", body, real_now())
    assert Webhook(A_SECRET).verify(body, headers) == json.loads(body)
    with pytest.raises(WebhookVerificationError):
        Webhook(A_SECRET).verify(body.replace(b"welcome", b"farewell"), headers)


def test_while_a_secret_changes_both_verify() -> None:
    headers = signed_headers((A_SECRET, OLD_SECRET), "msg-1", b"{}", real_now())
    assert headers["webhook-signature"].count("v1,") == 2
    for secret in (A_SECRET, OLD_SECRET):
        assert Webhook(secret).verify(b"{}", headers) == {}


def test_the_timestamp_is_the_instant_whatever_the_zone() -> None:
    elsewhere = timezone(timedelta(hours=9))
    moment = datetime(2027, 3, 1, 12, 0, 0, 900_000, tzinfo=UTC)
    there = signed_headers((A_SECRET,), "m", b"{}", moment.astimezone(elsewhere))
    assert there == signed_headers((A_SECRET,), "m", b"{}", moment)
    assert there["webhook-timestamp"] == "1803902400"
