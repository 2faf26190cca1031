"""A browser holds a public key: it joins its device to a lead, and takes nobody's address over."""

from datetime import timedelta

import pytest

from services.scoring.leads import Roster
from shared.wire import OURSELVES, Event
from tests.builders import NOON, an_event, scoring_definitions


def an_identify(minute: int, traits: dict[str, object], *, trusted: bool, user_id: str | None = None, device: str | None = None) -> Event:
    at = NOON + timedelta(minutes=minute)
    fields = {
        "type": "identify",
        "at": at,
        "received_at": at,
        "traits": traits,
        "trusted": trusted,
        "user_id": user_id,
        "anonymous_id": device,
    }
    return an_event("", id=f"e{minute}", **fields)


def test_a_browser_that_claims_a_customers_id_does_not_redirect_his_mail():
    roster = Roster(scoring_definitions(), NOON + timedelta(hours=1))
    roster.take(an_identify(1, {"email": "ana@example.com", "consent": True}, trusted=True, user_id="42"))
    roster.take(an_identify(2, {"email": "stranger@example.net", "consent": True}, trusted=True, device="dev1"))
    roster.take(an_identify(3, {}, trusted=False, user_id="42", device="dev1"))
    (customer,) = [scored.lead for scored in roster.leads.values() if scored.lead.user_id == "42"]
    assert customer.email == "ana@example.com"
    assert customer.consent.marketing
    assert customer.consent.address == "ana@example.com"


ANA, EVE = "ana@example.com", "eve@example.net"
CLAIM = {"trusted": False, "user_id": "ana", "device": "evil"}


def asks(minute: int, device: str, email: str) -> Event:
    at = NOON + timedelta(minutes=minute)
    fields = {"properties": {"email": email}, "user_id": None, "anonymous_id": device, "at": at, "received_at": at}
    return an_event("Newsletter Subscribed", id=f"a{minute}", **fields)


def confirms(minute: int, roster: Roster, device: str, email: str) -> Event:
    """The page of the confirmation mail, which knows the lead by the id that it had when it asked."""
    at = NOON + timedelta(minutes=minute)
    fields = {"source": OURSELVES, "trusted": True, "user_id": None, "at": at, "received_at": at}
    return an_event(
        "Consent Given", id=f"c{minute}", lead_id=roster.identities[f"device:{device}"], properties={"address": email}, **fields
    )


def signed_up(minute: int, roster: Roster, device: str, email: str) -> None:
    roster.take(asks(minute, device, email))
    roster.take(confirms(minute + 1, roster, device, email))


def mailable(roster: Roster, user: str = "ana") -> str | None:
    """Where marketing for a customer goes."""
    lead_id = roster.living(roster.identities[f"user:{user}"])
    assert lead_id is not None
    lead = roster.leads[lead_id].lead
    return lead.email if lead.address_trusted and lead.consent.marketing else None


def house() -> Roster:
    return Roster(scoring_definitions(), NOON + timedelta(hours=1))


@pytest.mark.parametrize("first", [True, False])
def test_an_address_that_a_stranger_confirmed_takes_no_place_of_the_one_that_the_customer_confirmed(first: bool):
    roster = house()
    signed_up(0 if first else 20, roster, "evil", EVE)
    signed_up(10, roster, "hers", ANA)
    roster.take(an_identify(30, {"email": ANA}, trusted=False, user_id="ana", device="hers"))
    roster.take(an_identify(40, {}, **CLAIM))
    assert mailable(roster) == ANA


def test_nor_does_it_where_the_stranger_confirms_after_he_claimed_her_id():
    roster = house()
    roster.take(asks(0, "evil", EVE))
    signed_up(10, roster, "hers", ANA)
    roster.take(an_identify(30, {}, trusted=False, user_id="ana", device="hers"))
    roster.take(an_identify(40, {}, **CLAIM))
    roster.take(confirms(50, roster, "evil", EVE))
    assert mailable(roster) == ANA


def test_nor_does_it_take_the_place_of_one_that_a_server_told_for_her_device_alone():
    roster = house()
    roster.take(asks(0, "evil", EVE))
    roster.take(an_identify(10, {"email": ANA, "consent": True}, trusted=True, device="hers"))
    roster.take(an_identify(30, {}, trusted=False, user_id="ana", device="hers"))
    roster.take(an_identify(40, {}, **CLAIM))
    roster.take(confirms(50, roster, "evil", EVE))
    assert mailable(roster) == ANA


def test_a_customer_known_by_a_posted_address_is_not_made_mailable_at_a_strangers():
    roster = house()
    signed_up(0, roster, "evil", EVE)
    roster.take(an_identify(20, {"email": ANA}, trusted=False, user_id="ana", device="hers"))
    roster.take(an_identify(40, {}, **CLAIM))
    assert mailable(roster) is None


@pytest.mark.parametrize("known", [None, {}, {"email": ANA}])
def test_who_signed_up_before_he_says_who_he_is_stays_signed_up(known: dict[str, object] | None):
    roster = house()
    signed_up(0, roster, "phone", ANA)
    if known is not None:
        roster.take(an_identify(20, known, trusted=False, user_id="ana", device="laptop"))
    roster.take(an_identify(30, {"email": ANA}, trusted=False, user_id="ana", device="phone"))
    assert mailable(roster) == ANA


def test_a_server_that_joins_a_device_to_a_customer_brings_its_address_too():
    roster = house()
    signed_up(0, roster, "phone", ANA)
    roster.take(an_identify(20, {"email": "old@example.com"}, trusted=False, user_id="ana", device="laptop"))
    roster.take(an_identify(30, {}, trusted=True, user_id="ana", device="phone"))
    assert mailable(roster) == ANA
