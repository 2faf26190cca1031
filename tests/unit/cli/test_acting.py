"""The commands that list and act: deliveries, dead letters, keys, audit."""

import pytest

from tests.unit.cli.api import Api
from tests.unit.cli.conftest import document

DELIVERY = {
    "id": "d1",
    "kind": "email",
    "lead_id": "l1",
    "journey": "welcome",
    "step": "hello",
    "template": "welcome-1",
    "to": "ana@example.com",
    "status": "in_doubt",
    "reason": "timeout",
    "attempts": 1,
    "queued_at": "2027-03-01T12:00:00Z",
}
LETTER = {
    "id": "x1",
    "service": "ingest",
    "topic": "dead-letters",
    "key": "ana",
    "code": "reserved_name",
    "message": "'Email Sent' is ours",
    "payload": '{"event": "Email Sent"}',
    "at": "2027-03-01T12:00:00Z",
    "replayed_at": None,
}


def test_deliveries_are_listed_by_what_is_asked_for(api: Api, dripline):
    api.answers["GET", "/api/deliveries"] = {"items": [DELIVERY], "next": None}
    api.answers["GET", "/api/leads"] = {"items": [{"id": "l1"}], "next": None}
    api.answers["GET", "/api/leads/l1"] = {"id": "l1"}
    words = ("deliveries", "list", "--lead", "ana@example.com", "--status", "in_doubt", "--kind", "email", "--journey", "welcome")
    shown = dripline(*words)
    assert shown.exit_code == 0
    for said in ("d1", "2027-03-01 12:00", "ana@example.com", "welcome-1", "in doubt  timeout"):
        assert said in shown.stdout
    assert api.asked[-1][2] == {"lead_id": "l1", "journey": "welcome", "status": "in_doubt", "kind": "email", "limit": "50"}
    assert document(dripline(*words, "--format", "json"))["items"] == [DELIVERY]


def test_a_delivery_is_tried_again(api: Api, dripline):
    api.answers["POST", "/api/deliveries/d1/retry"] = DELIVERY | {"status": "queued"}
    shown = dripline("deliveries", "retry", "d1")
    assert (shown.exit_code, shown.stdout) == (0, "d1 is queued\n")


def test_all_of_a_kind_are_tried_again_once_that_is_confirmed(api: Api, dripline):
    rows = [DELIVERY | {"id": "d1", "reason": "relay"}, DELIVERY | {"id": "d2", "reason": "other"}]
    api.answers["GET", "/api/deliveries"] = lambda asked: {"items": rows if asked["status"] == "failed" else [], "next": None}
    for delivery_id in ("d1", "d2"):
        api.answers["POST", f"/api/deliveries/{delivery_id}/retry"] = DELIVERY | {"id": delivery_id, "status": "queued"}
    refused = dripline("deliveries", "retry", "--all")
    assert (refused.exit_code, "try 2 deliveries again?" in refused.stderr) == (2, True)
    assert dripline("deliveries", "retry", "--reason", "relay", "--yes").stdout == "d1 is queued\n"
    assert dripline("deliveries", "retry", "--status", "failed", "--yes").stdout == "d1 is queued\nd2 is queued\n"
    assert dripline("deliveries", "retry", "--status", "deferred", "--yes").stdout == "no deliveries\n"
    assert dripline("deliveries", "retry").exit_code == 2


def test_a_delivery_in_doubt_is_settled_by_a_persons_word(api: Api, dripline):
    api.answers["POST", "/api/deliveries/d1/resolve"] = DELIVERY | {"status": "sent"}
    shown = dripline("deliveries", "resolve", "d1", "--as", "sent", "--format", "json")
    assert document(shown)["items"][0]["status"] == "sent"
    assert api.asked[-1] == ("POST", "/api/deliveries/d1/resolve", {}, {"as": "sent"})


def test_what_the_ledger_refuses_is_exit_1(api: Api, dripline):
    api.answers["POST", "/api/deliveries/d1/retry"] = (409, {"code": "not_retryable", "message": "it is sent, and stays so"})
    result = dripline("deliveries", "retry", "d1")
    assert (result.exit_code, result.stderr) == (1, "error: it is sent, and stays so\n")


def test_dead_letters_are_listed_and_shown_whole(api: Api, dripline):
    api.answers["GET", "/api/dead-letters"] = {"items": [LETTER], "next": "2027-03-01T12:00:00Z"}
    api.answers["GET", "/api/dead-letters/x1"] = LETTER
    listed = dripline("dead-letters", "list", "--limit", "1")
    assert "reserved_name  'Email Sent' is ours" in listed.stdout
    assert "there are more" in listed.stderr
    shown = dripline("dead-letters", "show", "x1")
    assert '"event": "Email Sent"' in shown.stdout
    assert document(dripline("dead-letters", "show", "x1", "--format", "json")) == LETTER


def test_all_letters_not_yet_replayed_are_replayed_page_after_page(api: Api, dripline):
    pages = {
        None: {"items": [LETTER, LETTER | {"id": "x2", "replayed_at": "2027-03-01T13:00:00Z"}], "next": "b"},
        "b": {"items": [LETTER | {"id": "x3"}], "next": None},
    }
    api.answers["GET", "/api/dead-letters"] = lambda asked: pages[asked.get("before")]
    for letter_id in ("x1", "x3"):
        api.answers["POST", f"/api/dead-letters/{letter_id}/replay"] = LETTER
    shown = dripline("dead-letters", "replay", "--all")
    assert (shown.exit_code, shown.stdout) == (0, "2 replayed\n")
    assert [path for method, path, _, _ in api.asked if method == "POST"] == ["/api/dead-letters/x1/replay", "/api/dead-letters/x3/replay"]


@pytest.mark.parametrize("words", [(), ("x1", "--all")])
def test_replay_takes_letters_or_all_of_them(dripline, words):
    assert dripline("dead-letters", "replay", *words).exit_code == 2


def test_a_new_key_s_token_is_all_that_stdout_gets(api: Api, dripline):
    api.answers["POST", "/api/keys"] = (201, {"id": "sk_1", "kind": "secret", "role": "admin", "name": "shop", "token": "sk_token"})
    assert "--role" in dripline("keys", "create", "secret").stderr
    made = dripline("keys", "create", "secret", "--name", "shop", "--role", "admin")
    assert (made.exit_code, made.stdout) == (0, "sk_token\n")
    assert "shown this once" in made.stderr
    assert api.asked[-1][3] == {"kind": "secret", "role": "admin", "name": "shop"}
    dripline("keys", "create", "write")
    assert api.asked[-1][3] == {"kind": "write", "role": None, "name": ""}


def test_keys_are_listed_and_revoked(api: Api, dripline):
    key = {"id": "pk_1", "kind": "write", "role": None, "name": "site", "created_at": "2027-03-01T12:00:00Z", "revoked_at": None}
    api.answers["GET", "/api/keys"] = {"items": [key], "next": None}
    api.answers["DELETE", "/api/keys/pk_1"] = {"id": "pk_1", "revoked": True}
    assert "pk_1" in dripline("keys", "list").stdout
    assert dripline("keys", "revoke", "pk_1").stdout == "pk_1 is revoked\n"


@pytest.mark.parametrize("ok", [True, False])
def test_the_audit_s_exit_code_is_its_answer(api: Api, dripline, ok: bool):
    checks = [
        {"service": "scoring", "promise": 1, "name": "recorded = told", "ok": True, "left": 3, "right": 3, "detail": "of all"},
        {
            "service": "mailer",
            "promise": 4,
            "name": "no delivery is odd",
            "ok": ok,
            "left": 0 if ok else 12,
            "right": 0,
            "detail": "",
            "offenders": [] if ok else [{"lead": "l1", "journey": "welcome", "step": "hello", "due": "2027-03-01T12:00:00Z"}],
        },
    ]
    api.answers["GET", "/api/audit"] = {"ok": ok, "checks": checks}
    shown = dripline("audit")
    assert shown.exit_code == (0 if ok else 1)
    assert "of all" in shown.stdout
    assert ("12 ≠ 0" in shown.stdout) is not ok
    assert ("lead l1, journey welcome, step hello, due 2027-03-01 12:00Z\n  and 11 more" in shown.stdout) is not ok
    assert ("all 2 checks reconcile" if ok else "1 of 2 checks do not reconcile") in shown.stdout
    assert document(dripline("audit", "--format", "json")) == {"ok": ok, "checks": checks}


@pytest.mark.parametrize("wrong", [[], [{"lead": "l2", "what": "evidence"}]])
def test_the_whole_audit_folds_every_lead_anew(api: Api, dripline, wrong: list):
    api.answers["GET", "/api/audit"] = {"ok": True, "checks": []}
    api.answers["GET", "/api/audit/refolded"] = {"checked": 5, "waiting": 1, "offenders": wrong, "next": None, "leads": 6}
    found = dripline("audit", "--whole", "--format", "json")
    assert found.exit_code == (1 if wrong else 0)
    (check,) = document(found)["checks"]
    assert (check["ok"], check["left"], check["right"], check["offenders"]) == (not wrong, 5 - len(wrong), 5, wrong)
