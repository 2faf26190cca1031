"""The door of the console."""

from datetime import timedelta

from services.console.session import GUESSES, WINDOW, Brake, Sessions, hash_password, password_matches
from shared.signing import Signer
from tests.builders import NOON


def a_session(password_hash: str = "scrypt$a$b", *, https: bool = False) -> Sessions:
    return Sessions(Signer(b"secret"), password_hash, timedelta(hours=12), https=https)


def test_only_the_password_matches():
    stored = hash_password("open sesame")
    assert password_matches("open sesame", stored)
    assert not password_matches("open sesam", stored)
    assert "sesame" not in stored


def test_the_same_password_is_stored_differently_unless_the_salt_is_given():
    assert hash_password("x") != hash_password("x")
    assert hash_password("x", b"salt") == hash_password("x", b"salt")


def test_a_session_ends_after_its_hours():
    sessions = a_session()
    token = sessions.start(NOON)
    assert sessions.holds(token, NOON + timedelta(hours=11, minutes=59))
    assert not sessions.holds(token, NOON + timedelta(hours=12, seconds=1))


def test_a_changed_password_ends_every_session():
    token = a_session("scrypt$a$b").start(NOON)
    assert not a_session("scrypt$a$c").holds(token, NOON)


def test_a_cookie_of_somebody_elses_making_is_worth_nothing():
    sessions = a_session()
    for token in ("", "AAAA", Signer(b"other").sign("console-session", b"9999999999.aa"), sessions.start(NOON)[:-2]):
        assert not sessions.holds(token, NOON)


def test_by_https_the_cookie_is_bound_to_its_host():
    assert a_session(https=True).cookie.startswith("__Host-")


def test_the_brake_holds_after_ten_misses_and_lets_go_a_minute_later():
    brake = Brake()
    for miss in range(GUESSES):
        assert brake.seconds_to_wait(float(miss)) == 0
        brake.missed(float(miss))
    assert brake.seconds_to_wait(10.0) == 50
    assert brake.seconds_to_wait(WINDOW) == 0
