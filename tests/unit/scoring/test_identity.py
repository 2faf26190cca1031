"""Whose an event is: every way in which known and unknown ids can meet."""

import pytest

from services.scoring.identity import Owner, Settlement, names_of, settle
from shared.errors import InvalidMessage
from tests.builders import an_event

ANONYMOUS, ANA, BO = Owner("l-anonymous", False), Owner("l-ana", True), Owner("l-bo", True)


def settled(owners: dict[str, Owner], **ids: object) -> Settlement:
    fields = {"user_id": None, "anonymous_id": None} | ids
    return settle(names_of(an_event(**fields)), owners.get)


def alias(owners: dict[str, Owner], previous: str, user: str, *, trusted: bool) -> Settlement:
    return settled(owners, type="alias", name="", previous_id=previous, user_id=user, trusted=trusted)


def test_a_device_seen_for_the_first_time_is_a_new_lead():
    assert settled({}, anonymous_id="d") == Settlement(None, (), ("device:d",))


def test_a_known_device_leads_to_its_lead():
    assert settled({"device:d": ANA}, anonymous_id="d") == Settlement("l-ana")


def test_a_new_user_on_a_new_device_is_one_new_lead():
    assert settled({}, user_id="ana", anonymous_id="d") == Settlement(None, (), ("user:ana", "device:d"))


def test_a_new_user_takes_over_the_anonymous_lead_of_the_device():
    assert settled({"device:d": ANONYMOUS}, user_id="ana", anonymous_id="d") == Settlement("l-anonymous", (), ("user:ana",))


def test_a_known_user_ties_a_new_device():
    assert settled({"user:ana": ANA}, user_id="ana", anonymous_id="d") == Settlement("l-ana", (), ("device:d",))


def test_an_anonymous_lead_becomes_part_of_the_known_one():
    assert settled({"user:ana": ANA, "device:d": ANONYMOUS}, user_id="ana", anonymous_id="d") == Settlement("l-ana", ("l-anonymous",), ())


def test_a_device_that_somebody_else_uses_moves_and_nobody_is_merged():
    assert settled({"user:bo": BO, "device:d": ANA}, user_id="bo", anonymous_id="d") == Settlement("l-bo", (), ("device:d",))


def test_a_new_user_on_the_device_of_another_is_a_new_lead():
    assert settled({"device:d": ANA}, user_id="bo", anonymous_id="d") == Settlement(None, (), ("user:bo", "device:d"))


def test_nothing_is_to_be_done_where_everything_is_known():
    assert settled({"user:ana": ANA, "device:d": ANA}, user_id="ana", anonymous_id="d") == Settlement("l-ana")


def test_a_user_and_an_anonymous_id_of_the_same_text_are_two_identities():
    assert settled({"user:x": ANA}, anonymous_id="x") == Settlement(None, (), ("device:x",))


def test_an_alias_from_a_browser_ties_an_anonymous_id():
    assert alias({"user:ana": ANA, "device:d": ANONYMOUS}, "d", "ana", trusted=False) == Settlement("l-ana", ("l-anonymous",), ())


def test_an_alias_from_a_browser_cannot_claim_a_user_id_that_nobody_used_yet():
    assert alias({"user:ana": ANA}, "bo", "ana", trusted=False) == Settlement("l-ana", (), ("device:bo",))


@pytest.mark.parametrize("owners", [{"user:ana": ANA, "user:bo": BO}, {"user:bo": BO}])
def test_an_alias_from_a_browser_never_joins_an_identified_lead(owners: dict[str, Owner]):
    with pytest.raises(InvalidMessage) as refused:
        alias(owners, "bo", "ana", trusted=False)
    assert refused.value.code == "alias_untrusted"


def test_an_alias_with_a_secret_key_joins_two_identified_leads():
    assert alias({"user:ana": ANA, "user:bo": BO}, "bo", "ana", trusted=True) == Settlement("l-ana", ("l-bo",), ("device:bo",))


def test_an_alias_with_a_secret_key_gives_a_lead_its_new_user_id():
    assert alias({"user:bo": BO}, "bo", "ana", trusted=True) == Settlement("l-bo", (), ("user:ana", "device:bo"))


def test_an_alias_of_a_user_to_himself_changes_nothing():
    assert alias({"user:ana": ANA, "device:ana": ANA}, "ana", "ana", trusted=False) == Settlement("l-ana")


@pytest.mark.parametrize("id", ["", "null", "undefined", "anonymous", "guest", "NaN", "None", "true", "false", "0", "[object Object]", " "])
def test_what_broken_integrations_send_as_an_id_names_nobody(id: str):
    with pytest.raises(InvalidMessage) as refused:
        names_of(an_event(user_id=id, anonymous_id=id))
    assert refused.value.code == "no_identity"
    assert names_of(an_event(user_id=id, anonymous_id="d")).identities == ("device:d",)


@pytest.mark.parametrize("missing", ["user_id", "previous_id"])
def test_an_alias_needs_both_ids(missing: str):
    with pytest.raises(InvalidMessage):
        names_of(an_event(type="alias", **({"user_id": "ana", "previous_id": "bo"} | {missing: None})))
