"""Tokens of links and cookies: ours verify, and no other."""

from hypothesis import given
from hypothesis import strategies as st

from shared.signing import Signer

SIGNER = Signer(b"secret")


@given(st.binary(max_size=64))
def test_what_was_signed_verifies_and_is_fit_for_a_url(payload: bytes):
    token = SIGNER.sign("unsubscribe", payload)
    assert token.isascii()
    assert set(token) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_")
    assert SIGNER.verify("unsubscribe", token) == payload


@given(st.binary(min_size=1, max_size=64), st.data())
def test_a_token_with_one_bit_changed_does_not_verify(payload: bytes, data: st.DataObject):
    token = SIGNER.sign("click", payload)
    place = data.draw(st.integers(0, len(token) - 2))  # the last character holds unused bits
    other = "A" if token[place] != "A" else "B"
    assert SIGNER.verify("click", token[:place] + other + token[place + 1 :]) is None


def test_a_token_serves_one_purpose_of_one_signer():
    token = SIGNER.sign("open", b"delivery")
    assert SIGNER.verify("unsubscribe", token) is None
    assert Signer(b"another").verify("open", token) is None


@given(st.text(max_size=60))
def test_what_strangers_make_up_does_not_verify(token: str):
    assert SIGNER.verify("open", token) is None
