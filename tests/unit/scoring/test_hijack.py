"""A browser holds a public key: it joins its device to a lead, and takes nobody's address over."""

from datetime import timedelta

from services.scoring.leads import Roster
from shared.wire import Event
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
