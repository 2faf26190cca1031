"""Tokens in links: they come back as what they were made of, and nobody else can make one."""

import pytest

from services.mailer.links import Links
from shared.signing import Signer
from tests.builders import DELIVERY

LINKS = Links(Signer(b"k" * 32), "https://mail.acme.example/")


def token_of(url: str) -> str:
    return url.rpartition("/")[2].removesuffix(".gif")


@pytest.mark.parametrize("delivery_id", [DELIVERY, DELIVERY.upper(), "d1", "a-name-of-16-byte", "x" * 60])
def test_a_click_link_comes_back_as_its_delivery_and_number(delivery_id: str) -> None:
    url = LINKS.click_url(delivery_id, 300)
    assert url.startswith("https://mail.acme.example/c/")
    assert LINKS.read_click(token_of(url)) == (delivery_id, 300)


def test_unsubscribe_and_open_links_come_back_as_their_delivery() -> None:
    assert LINKS.read_unsubscribe(token_of(LINKS.unsubscribe_url(DELIVERY))) == DELIVERY
    assert LINKS.read_open(token_of(LINKS.open_url(DELIVERY))) == DELIVERY


def test_a_token_for_one_purpose_does_not_serve_another() -> None:
    token = token_of(LINKS.open_url(DELIVERY))
    assert LINKS.read_unsubscribe(token) is None
    assert LINKS.read_click(token) is None


def test_a_changed_or_foreign_or_broken_token_is_not_ours() -> None:
    token = token_of(LINKS.unsubscribe_url(DELIVERY))
    foreign = token_of(Links(Signer(b"other" * 8), "https://x.example").unsubscribe_url(DELIVERY))
    for bad in ("", "x", "ü", "a" * 5, token[:-3], token[:5] + ("A" if token[5] != "A" else "B") + token[6:], foreign, "." * 400):
        assert LINKS.read_unsubscribe(bad) is None


def test_a_token_is_compact() -> None:
    assert len(token_of(LINKS.click_url(DELIVERY, 0))) <= 46
