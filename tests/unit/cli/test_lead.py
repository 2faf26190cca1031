"""`dripline lead`."""

from tests.unit.cli.api import Api
from tests.unit.cli.conftest import document
from tests.unit.console.services import a_lead_answer

TIMELINE = [
    {
        "kind": "delivery",
        "id": "d1",
        "delivery_kind": "email",
        "at": "2027-03-01T11:58:02Z",
        "journey": "welcome",
        "step": "hello",
        "template": "welcome-1",
    }
    | {"status": "sent", "reason": None, "opened_at": "2027-03-01T12:00:00Z"},
    {"kind": "readiness", "id": "e2", "at": "2027-03-01T11:58:00Z", "name": "Readiness Changed", "properties": {"before": 1, "after": 7}},
    {
        "kind": "event",
        "id": "e1",
        "at": "2027-03-01T11:58:00Z",
        "name": "Ebook Downloaded",
        "type": "track",
        "properties": {"title": "Tea"},
    },
]
ENROLLMENT = {"journey": "welcome", "status": "active", "step": "pause", "wake_at": "2027-03-03T12:00:00Z", "key": None}


def knows_ana(api: Api, **overrides: object) -> None:
    lead = a_lead_answer(enrollments=[ENROLLMENT], **overrides)
    by = {"email": {"ana@example.com"}, "user_id": {"ana"}}
    found = {"items": [lead], "next": None}
    api.answers["GET", "/api/leads"] = lambda asked: (
        found if any(value in by.get(name, ()) for name, value in asked.items()) else {"items": []}
    )
    api.answers["GET", "/api/leads/l1"] = lead
    api.answers["GET", "/api/leads/l1/timeline"] = {"items": TIMELINE, "next": None}


def test_a_lead_is_shown_with_readiness_reasons_journeys_and_timeline(api: Api, dripline):
    knows_ana(api)
    shown = dripline("lead", "ana@example.com")
    assert shown.exit_code == 0
    for said in (
        "Ana",
        "▰▰▰▰▰▰▰▱▱▱ 7 of 10",
        "ana@example.com",
        "+7",
        "downloaded an e-book",
        "welcome",
        "at pause",
        "wakes 2027-03-03 12:00",
    ):
        assert said in shown.stdout
    for said in ("Readiness 1 → 7", "Ebook Downloaded  title: Tea", "welcome-1 sent opened"):
        assert said in shown.stdout


def test_a_lead_is_found_by_address_lead_id_or_user_id(api: Api, dripline):
    knows_ana(api)
    for who in ("ana@example.com", "l1", "ana"):
        assert document(dripline("lead", who, "--format", "json"))["id"] == "l1"


def test_json_is_the_api_s_lead_with_its_timeline(api: Api, dripline):
    knows_ana(api)
    shown = dripline("lead", "l1", "--format", "json", "--limit", "3")
    lead = document(shown)
    assert (lead["readiness"], lead["reasons"][0]["points"], lead["timeline"]) == (7, 7.0, TIMELINE)
    assert ("GET", "/api/leads/l1/timeline", {"limit": "3"}, None) in api.asked
    assert shown.stderr == ""


def test_a_lead_that_is_not_there_is_exit_1(api: Api, dripline):
    knows_ana(api)
    result = dripline("lead", "nobody@example.com", "--format", "json")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("error: no lead nobody@example.com")


def test_what_a_lead_says_cannot_steer_the_terminal(api: Api, dripline):
    knows_ana(api, traits={"name": "Ana\x1b[2J\u202e[bold red]", "bad\x9b31m": "x\ny"})
    shown = dripline("lead", "l1").stdout
    assert not {"\x1b", "\x9b", "\u202e"} & set(shown)
    assert "[bold red]" in shown


def test_words_of_persian_keep_their_joiners(api: Api, dripline):
    knows_ana(api, traits={"note": "می\u200cخواهد"})
    assert "می\u200cخواهد" in dripline("lead", "l1").stdout


def test_a_lead_of_whom_nothing_is_known_is_shown_too(api: Api, dripline):
    bare = {
        "id": "l1",
        "email": None,
        "user_id": None,
        "readiness": 1,
        "points": 0.0,
        "reasons": [],
        "traits": {},
        "tags": [],
        "consent": {},
        "enrollments": [],
    }
    api.answers["GET", "/api/leads/l1"] = bare
    api.answers["GET", "/api/leads/l1/timeline"] = {"items": [], "next": None}
    shown = dripline("lead", "l1")
    assert shown.exit_code == 0
    assert "Visitor l1" in shown.stdout
    assert "timeline" not in shown.stdout
