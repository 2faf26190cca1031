"""One address for all services, and the answers that span them."""

from typing import Any

import pytest
from prometheus_client import REGISTRY

from services.console.audit_metrics import measure
from services.console.front import owner_of
from services.console.handed_over import TRIES
from services.console.main import all_ready
from services.console.together import Together
from services.console.upstreams import Answer
from shared.clock import FakeClock
from shared.errors import Outage
from shared.http import Problem
from tests.builders import NOON
from tests.unit.console.services import ADMIN, FakeUpstreams, a_lead_answer, a_lead_known_everywhere, console

KEY = {"authorization": f"Bearer {ADMIN}", "accept": "application/json"}


@pytest.mark.parametrize(
    ("path", "service"),
    [
        ("/v1/track", "ingest"),
        ("/api/leads", "scoring"),
        ("/api/leads/l1", "scoring"),
        ("/api/leadsx", None),
        ("/api/journeys/welcome/pause", "journeys"),
        ("/api/enrollments", "journeys"),
        ("/api/deliveries/d1/retry", "mailer"),
        ("/api/suppressions", "mailer"),
        ("/u/token", "mailer"),
        ("/usual", None),
        ("/api/secrets", None),
    ],
)
def test_each_path_has_one_owner_or_none(path, service):
    assert owner_of(path) == service


async def test_a_request_is_passed_on_as_it_came():
    answer = Answer(207, (("content-type", "text/x"), ("x-told", "yes"), ("content-encoding", "gzip"), ("content-length", "99")), b"said")
    upstreams = FakeUpstreams({("scoring", "/api/leads/a%2Fb"): answer})
    headers = KEY | {"idempotency-key": "k", "cookie": "dripline=x", "x-forwarded-for": "1.2.3.4"}
    got = await console(upstreams).patch("/api/leads/a%2Fb?x=1&x=2", content=b'{"tags": {}}', headers=headers)
    assert (got.status_code, got.content, got.headers["x-told"], got.headers["content-length"]) == (207, b"said", "yes", "4")
    assert "content-encoding" not in got.headers
    asked = upstreams.asked[0]
    assert (asked.service, asked.method, asked.path, asked.body) == ("scoring", "PATCH", "/api/leads/a%2Fb", b'{"tags": {}}')
    assert asked.headers["authorization"] == f"Bearer {ADMIN}"
    assert asked.headers["idempotency-key"] == "k"
    assert asked.headers["x-forwarded-for"] == "1.2.3.4, 127.0.0.1"
    assert not {"cookie", "host", "accept-encoding", "content-length"} & asked.headers.keys()


async def test_a_path_that_is_nobodys_is_not_found():
    answer = await console(FakeUpstreams()).get("/api/nothing", headers=KEY)
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


async def test_a_body_that_is_too_large_goes_no_further():
    upstreams = FakeUpstreams()
    answer = await console(upstreams).post("/api/leads", content=b"x" * ((1 << 20) + 1), headers=KEY)
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
    assert not upstreams.asked


async def test_a_service_that_is_away_is_503_with_a_time_to_come_back():
    answer = await console(FakeUpstreams(away={"scoring"})).get("/api/leads", headers=KEY)
    assert (answer.status_code, answer.json()["code"], answer.headers["retry-after"]) == (503, "unavailable", "5")


async def test_a_lead_comes_with_its_reasons_and_its_enrollments():
    upstreams = a_lead_known_everywhere()
    lead = (await console(upstreams).get("/api/leads/l1?as_of=2027-01-01T00:00:00Z", headers=KEY)).json()
    assert lead["reasons"][0]["rule"] == "ebook"
    assert lead["enrollments"][0]["journey"] == "welcome"
    assert upstreams.asked[0].params == {"as_of": "2027-01-01T00:00:00Z"}
    assert all(asked.headers == {"authorization": f"Bearer {ADMIN}"} for asked in upstreams.asked)


async def test_the_enrollments_are_those_of_the_surviving_lead():
    upstreams = a_lead_known_everywhere()
    upstreams.answers["scoring", "/api/leads/merged"] = a_lead_answer(id="l1")
    await console(upstreams).get("/api/leads/merged", headers=KEY)
    assert upstreams.asked[-1].params == {"lead_id": "l1"}


async def test_what_a_service_refuses_is_refused_in_its_words():
    refusal = Answer(403, (), b'{"code": "forbidden", "message": "not for this role"}')
    answer = await console(FakeUpstreams({("scoring", "/api/leads/l1"): refusal})).get("/api/leads/l1", headers=KEY)
    assert (answer.status_code, answer.json()) == (403, {"code": "forbidden", "message": "not for this role"})


async def test_the_timeline_is_events_readiness_steps_and_deliveries_newest_first():
    answer = (await console(a_lead_known_everywhere()).get("/api/leads/l1/timeline", headers=KEY)).json()
    assert [item["kind"] for item in answer["items"]] == ["delivery", "step", "readiness", "event"]
    assert answer["next"] is None


async def test_the_timeline_goes_on_where_it_was_left():
    browser = console(a_lead_known_everywhere())
    first = (await browser.get("/api/leads/l1/timeline?limit=3", headers=KEY)).json()
    rest = (await browser.get("/api/leads/l1/timeline", params={"limit": 3, "cursor": first["next"]}, headers=KEY)).json()
    assert [item["kind"] for item in first["items"] + rest["items"]] == ["delivery", "step", "readiness", "event"]
    bad = await browser.get("/api/leads/l1/timeline?cursor=nonsense", headers=KEY)
    assert (bad.status_code, bad.json()["code"]) == (400, "invalid")


def a_letter(service: str, second: int) -> dict:
    return {"id": f"{service}{second}", "service": service, "at": f"2027-03-01T12:00:{second:02}Z", "replayed_at": None}


def letters() -> FakeUpstreams:
    held = {"ingest": [5, 1], "scoring": [3], "journeys": [], "mailer": [4]}
    answers = {(name, "/api/dead-letters"): {"items": [a_letter(name, s) for s in at], "next": None} for name, at in held.items()}
    return FakeUpstreams(answers | {("mailer", "/api/dead-letters/mailer4"): a_letter("mailer", 4)})


async def test_dead_letters_of_all_services_come_newest_first():
    browser = console(letters())
    found = (await browser.get("/api/dead-letters", headers=KEY)).json()
    assert [letter["id"] for letter in found["items"]] == ["ingest5", "mailer4", "scoring3", "ingest1"]
    assert found["next"] is None
    cut = (await browser.get("/api/dead-letters?limit=2", headers=KEY)).json()
    assert cut["next"] == "2027-03-01T12:00:04Z~mailer4"


async def test_dead_letters_that_share_a_moment_are_all_on_some_page():
    held = {name: [a_letter(name, 1) | {"id": f"{n}{name}"} for n in range(4)] for name in ("ingest", "scoring", "journeys", "mailer")}

    def page_of(name: str):
        def page(params: dict) -> dict:
            at, _, letter_id = params.get("before", "9999~").partition("~")
            older = sorted((one for one in held[name] if (one["at"], one["id"]) < (at, letter_id)), key=lambda one: one["id"], reverse=True)
            items = older[: int(params["limit"])]
            return {"items": items, "next": "more" if len(older) > len(items) else None}

        return page

    browser = console(FakeUpstreams({(name, "/api/dead-letters"): page_of(name) for name in held}))
    seen, params = [], {"limit": "3"}
    while True:
        found = (await browser.get("/api/dead-letters", params=params, headers=KEY)).json()
        seen += [letter["id"] for letter in found["items"]]
        if found["next"] is None:
            break
        params["before"] = found["next"]
    assert sorted(seen) == sorted(letter["id"] for letters in held.values() for letter in letters)


async def test_a_letter_is_replayed_by_the_service_that_holds_it():
    upstreams = letters()
    upstreams.answers["mailer", "/api/dead-letters/mailer4/replay"] = a_letter("mailer", 4) | {"replayed_at": "2027-03-01T13:00:00Z"}
    answer = await console(upstreams).post("/api/dead-letters/mailer4/replay", headers=KEY)
    assert answer.json()["replayed_at"] is not None
    assert [(asked.service, asked.method) for asked in upstreams.asked if asked.path.endswith("replay")] == [("mailer", "POST")]


async def test_a_letter_that_nobody_holds_is_not_found():
    answer = await console(letters()).post("/api/dead-letters/lost/replay", headers=KEY)
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


class Patience:
    """Counts the pauses instead of making them."""

    def __init__(self) -> None:
        self.pauses = 0

    async def __call__(self, _: float) -> None:
        self.pauses += 1


def counted(published: int, *received: int, read: int = 9, end: int = 9, **more: Any) -> FakeUpstreams:
    """Journeys published this many; mailer answers these counts in turn, then the last for good. It has read `read` of `end` messages."""
    answers = list(received)

    def receive(_: object) -> dict:
        count = answers.pop(0) if len(answers) > 1 else answers[0]
        items = [{"journey": "welcome", "step": "hello", "count": count}, {"journey": "", "step": "", "count": 9}]
        return {"items": items, "read": {"0": read}, "ends": {"0": end}, "refused": more.get("refused", [])}

    row = {"journey": "welcome", "step": "hello", "kind": "send", "count": published}
    ids = [{"id": f"m{number}", "lead": f"l{number}", "enrollment": f"e{number}"} for number in range(published)]
    return FakeUpstreams(
        {
            ("scoring", "/api/audit"): {"checks": [{"name": "recorded", "promise": 1, "ok": True}]},
            ("journeys", "/api/audit/published"): {"items": [row], "next": None, "owed": more.get("owed", [None, None]), "refused": []},
            ("journeys", "/api/audit/published/ids"): {"items": ids, "next": None},
            ("mailer", "/api/audit/received"): receive,
            ("mailer", "/api/audit/unknown"): {"items": [one["id"] for one in ids[answers[-1] :]]},
        }
    )


async def audited(upstreams: FakeUpstreams) -> tuple[dict, int]:
    patience = Patience()
    return await Together(upstreams, FakeClock(NOON), patience).audit({}), patience.pauses


def broken(found: dict) -> list[tuple[int, int, list]]:
    return [(check["left"], check["right"], check["offenders"]) for check in found["checks"] if not check["ok"]]


async def test_the_audit_is_every_services_checks_and_what_was_handed_over():
    found, pauses = await audited(counted(3, 3))
    assert (found["ok"], pauses) == (True, 0)
    assert [(check["service"], check["ok"]) for check in found["checks"]] == [("scoring", True), ("journeys → mailer", True)]


async def test_the_audit_waits_for_what_is_on_its_way():
    found, pauses = await audited(counted(3, 1, 2, 3, read=8))
    assert (found["ok"], pauses) == (True, 2)


async def test_what_is_still_on_its_way_after_that_is_no_mistake():
    found, pauses = await audited(counted(3, 2, read=8))
    assert (found["ok"], pauses) == (True, TRIES)
    assert found["checks"][-1]["detail"] == "1 on their way"


async def test_what_journeys_has_not_yet_given_to_the_log_is_on_its_way_too():
    found, _ = await audited(counted(3, 2, owed=[7, 7]))
    assert (found["ok"], found["checks"][-1]["detail"]) == (True, "1 on their way")


async def test_the_audit_names_the_lead_whose_message_never_arrived():
    found, pauses = await audited(counted(3, 2))
    assert (found["ok"], pauses) == (False, 1)
    assert broken(found) == [(3, 2, [{"lead": "l2", "journey": "welcome", "step": "hello", "id": "m2", "enrollment": "e2"}])]


async def test_a_message_that_the_mailer_set_aside_is_accounted_for():
    found, _ = await audited(counted(3, 2, refused=[{"journey": "welcome", "step": "hello", "count": 1}]))
    assert found["ok"]


async def test_the_audit_says_what_was_received_and_never_published():
    found, _ = await audited(counted(2, 3))
    assert broken(found) == [(2, 3, [])]


async def test_the_audit_is_a_metric_by_service_and_promise():
    await measure(Together(counted(3, 1), FakeClock(NOON), Patience()), {})
    assert REGISTRY.get_sample_value("dripline_audit_difference", {"service": "journeys → mailer", "promise": "3"}) == 2
    assert REGISTRY.get_sample_value("dripline_audit_difference", {"service": "scoring", "promise": "1"}) == 0
    await measure(Together(counted(3, 3), FakeClock(NOON), Patience()), {})
    assert REGISTRY.get_sample_value("dripline_audit_difference", {"service": "journeys → mailer", "promise": "3"}) == 0


async def test_both_sides_are_counted_up_to_the_same_moment_a_little_ago():
    upstreams = counted(3, 3)
    await audited(upstreams)
    cuts = {asked.params["before"] for asked in upstreams.asked if "audit/" in asked.path}
    assert cuts == {"2027-03-01T11:59:55+00:00"}


async def test_an_answer_that_is_not_json_counts_as_an_outage():
    upstreams = FakeUpstreams({("scoring", "/api/leads/l1"): Answer(502, (), b"<html>")})
    answer = await console(upstreams).get("/api/leads/l1", headers=KEY)
    assert answer.status_code == 503


async def test_a_problem_keeps_its_code():
    with pytest.raises(Problem) as refused:
        await Together(FakeUpstreams(), FakeClock(NOON)).dead_letter({}, "x")
    assert refused.value.code == "not_found"


async def test_readyz_names_every_service_that_is_away_or_not_ready_and_why():
    upstreams = FakeUpstreams({(name, "/readyz"): {"status": "ready"} for name in ("ingest", "mailer")}, away={"scoring"})
    upstreams.answers["journeys", "/readyz"] = Answer(503, (), b'{"code": "unavailable", "message": "the database does not answer"}')
    with pytest.raises(Outage, match=r"^scoring does not answer; journeys is not ready: the database does not answer$"):
        await all_ready(upstreams)
    upstreams.away.clear()
    upstreams.answers |= {(name, "/readyz"): {"status": "ready"} for name in ("scoring", "journeys")}
    await all_ready(upstreams)


async def test_one_openapi_document_describes_all_services():
    described = {"paths": {"/api/leads": {"get": {}}, "/readyz": {}}, "components": {"schemas": {"TagChange": {}}}}
    upstreams = FakeUpstreams({(name, "/openapi.json"): {"paths": {}} for name in ("ingest", "journeys", "mailer")})
    upstreams.answers["scoring", "/openapi.json"] = described
    document = (await console(upstreams).get("/openapi.json")).json()
    assert {"/api/leads", "/api/leads/{lead_id}/timeline", "/api/dead-letters", "/api/audit", "/api/keys"} <= document["paths"].keys()
    assert {"TagChange", "NewKey"} <= document["components"]["schemas"].keys()
    assert document["info"]["title"] == "Dripline"
