"""The API of leads: what is shown, asked for, changed, and seen at a past moment; and who may."""

from datetime import timedelta

import pytest

from shared.wire import OURSELVES
from tests.builders import NOON, an_event
from tests.scoring_house import House

DAY = timedelta(days=1)
HOUR = timedelta(hours=1)


async def three_leads(house: House) -> None:
    ana = {"email": "Ana@Example.com", "name": "Ana", "consent": True}
    await house.handle(
        an_event("", type="identify", id="a", user_id="ana", traits=ana, trusted=True),
        an_event("Ebook Downloaded", id="b", user_id="bo-1", anonymous_id="phone"),
        an_event("Link Clicked", id="c", user_id="cy", properties={"paid": True}, received_at=NOON + HOUR),
    )


async def users(house: House, **asked: object) -> list[str]:
    return [item["user_id"] for item in (await house.get("/api/leads", **asked))["items"]]


async def test_a_lead_is_shown_with_every_key(house: House):
    await three_leads(house)
    (item,) = (await house.get("/api/leads", user_id="ana"))["items"]
    assert item == {
        "id": item["id"],
        "email": "Ana@example.com",
        "user_id": "ana",
        "readiness": 1,
        "points": 0.0,
        "hot": False,
        "sleeping": False,
        "traits": {"email": "Ana@Example.com", "name": "Ana"},
        "tags": [],
        "consent": {"marketing": True, "address": "Ana@example.com", "topics": {}, "source": "pk_test", "at": "2027-03-01T12:00:00Z"},
        "timezone": None,
        "locale": None,
        "created_at": "2027-03-01T12:00:00Z",
        "last_seen_at": "2027-03-01T12:00:00Z",
    }


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"email": "ana@example.com"}, ["ana"]),
        ({"user_id": "bo-1"}, ["bo-1"]),
        ({"user_id": "nobody"}, []),
        ({"anonymous_id": "phone"}, ["bo-1"]),
        ({"anonymous_id": "bo-1"}, []),
        ({"min_readiness": 7}, ["bo-1", "cy"]),
        ({"hot": True}, ["cy"]),
        ({"hot": False}, ["ana", "bo-1"]),
        ({"sleeping": True}, []),
        ({"sleeping": False}, ["ana", "bo-1", "cy"]),
        ({"q": "EXAMPLE"}, ["ana"]),
        ({"q": "bo-"}, ["bo-1"]),
        ({"q": "%"}, []),
    ],
)
async def test_leads_are_found_by_what_is_asked_for(house: House, asked: dict[str, object], expected: list[str]):
    await three_leads(house)
    assert sorted(await users(house, **asked)) == expected


async def test_the_list_is_paged_the_newest_first(house: House):
    await three_leads(house)
    first = await house.get("/api/leads", limit=2)
    assert first["items"][0]["user_id"] == "cy"
    rest = await house.get("/api/leads", limit=2, cursor=first["next"])
    assert rest["next"] is None
    assert sorted(item["user_id"] for item in first["items"] + rest["items"]) == ["ana", "bo-1", "cy"]


async def test_readiness_and_reasons_are_those_of_this_moment(house: House):
    await house.handle(an_event("Ebook Downloaded"), an_event("Page Viewed", id="p", properties={"path": "/pricing"}))
    house.clock.advance(14 * DAY)
    lead = await house.lead()
    assert (lead["readiness"], lead["points"]) == (7, 7.25)
    assert [(reason["rule"], reason["points"]) for reason in lead["reasons"]] == [("ebook", 7.0), ("pricing", 0.25)]
    await house.pass_time(timedelta(0))


async def test_a_lead_as_of_a_past_moment(house: House):
    for day, name in enumerate(["Ebook Downloaded", "Webinar Attended", "Link Clicked"]):
        at = NOON + day * DAY
        await house.handle(an_event(name, id=name, at=at, received_at=at, properties={"paid": True}))
        house.clock.advance(DAY)
    lead = await house.lead()
    path = f"/api/leads/{lead['id']}"
    past = [await house.get(path, as_of=(NOON + day * DAY + HOUR).isoformat()) for day in range(3)]
    assert [(found["readiness"], found["hot"]) for found in past] == [(7, False), (8, False), (9, True)]
    assert [reason["rule"] for reason in past[1]["reasons"]] == ["webinar"]
    assert past[2]["user_id"] == "u1"
    await house.get(path, expected=404, as_of=(NOON - DAY).isoformat())
    await house.get(path, expected=400, as_of=(NOON + 9 * DAY).isoformat())


async def test_past_moments_are_seen_under_todays_rules(house: House):
    await house.handle(an_event())
    await house.publish("rules:\n  - {id: other, event: Ebook Downloaded, at_least: 3}\n")
    house.ports.playbooks._looked_at = float("-inf")
    lead_id = (await house.lead())["id"]
    assert (await house.get(f"/api/leads/{lead_id}", as_of=NOON.isoformat()))["readiness"] == 3


async def test_a_change_goes_the_way_of_an_event(house: House):
    await house.handle(an_event())
    lead_id = (await house.lead())["id"]
    changed = await house.patch(
        lead_id, traits={"email": "ana@example.com", "employees": 80}, tags=["vip", "new"], consent={"marketing": True, "source": "phone"}
    )
    assert (changed["email"], changed["tags"], changed["readiness"]) == ("ana@example.com", ["new", "vip"], 8)
    consent = changed["consent"]
    assert (consent["marketing"], consent["address"], consent["source"]) == (True, "ana@example.com", "phone")
    assert changed == await house.lead()
    event, change, identified = house.activities[-3:]
    assert (identified.event.name, identified.event.properties) == ("Lead Identified", {"by": "address"})
    assert (event.event.type, event.event.source, event.profile_changed) == ("identify", OURSELVES, True)
    assert change.event.properties == {"before": 7, "after": 8}


FIT = """\
hot: 9
fit:
  - {id: size, when: "lead.traits.employees >= 50", add: 3}
  - {id: partner, when: "'partner' in lead.tags", add: 2.5, text: "a partner"}
  - {id: mailable, when: "lead.consent.marketing and lead.consent.topics.digest", add: 4}
  - {id: student, when: "lead.traits.role == 'student'", add: -2}
"""


async def test_fit_goes_by_traits_tags_and_consent_moves_both_ways_and_does_not_fade(house: House):
    await house.change_rules(FIT)
    await house.handle(an_event("", type="identify", traits={"email": "ana@example.com"}, trusted=True))
    lead_id = (await house.lead())["id"]
    walk = [
        ({"traits": {"employees": "80"}}, 3, 3),
        ({"tags": ["partner"]}, 5.5, 6),
        ({"consent": {"marketing": True, "topics": {"digest": True}}}, 9.5, 10),
        ({"traits": {"role": "student"}}, 7.5, 8),
        ({"consent": False}, 3.5, 4),
        ({"tags": []}, 1, 1),
    ]
    for change, points, readiness in walk:
        house.clock.advance(HOUR)
        changed = await house.patch(lead_id, **change)
        assert (changed["points"], changed["readiness"]) == (points, readiness)
    await house.pass_time(1000 * DAY)
    lead = await house.lead()
    assert [(reason["rule"], reason["kind"], reason["points"]) for reason in lead["reasons"]] == [
        ("size", "fit", 3),
        ("student", "fit", -2),
    ]
    changes = [activity.event.properties["after"] for activity in house.activities if activity.event.name == "Readiness Changed"]
    assert changes == [3, 6, 10, 8, 4, 1]
    assert [activity.lead.hot for activity in house.activities if activity.event.properties.get("after") in (10, 8)] == [True, False]


async def test_leads_are_found_by_part_of_their_name_whatever_its_case(house: House):
    named = ({"name": "Ana Müller"}, {"firstName": "Bo", "lastName": "MÜLLER"}, {"name": "Cy"}, {"name": "سارا احمدی"})
    await house.handle(*[an_event("", type="identify", id=f"e{n}", user_id=f"u{n}", traits=traits) for n, traits in enumerate(named)])
    assert sorted(await users(house, q="müller")) == ["u0", "u1"]
    assert await users(house, q="احمد") == ["u3"]
    assert await users(house, q="bo mü") == ["u1"]


async def test_tags_are_added_and_taken_away_or_set_as_a_whole(house: House):
    await house.handle(an_event())
    lead_id = (await house.lead())["id"]
    await house.patch(lead_id, tags=["a", "b"])
    house.clock.advance(HOUR)
    assert (await house.patch(lead_id, tags={"add": ["c"], "remove": ["a"]}))["tags"] == ["b", "c"]
    house.clock.advance(HOUR)
    assert (await house.patch(lead_id, tags=["d"]))["tags"] == ["d"]


async def test_consent_can_be_withdrawn_and_a_trait_taken_away(house: House):
    await house.handle(an_event("", type="identify", traits={"email": "ana@example.com", "consent": True, "plan": "pro"}, trusted=True))
    house.clock.advance(HOUR)
    changed = await house.patch((await house.lead())["id"], consent=False, traits={"plan": None})
    assert not changed["consent"]["marketing"]
    assert changed["consent"]["source"] == "api:tests"
    assert "plan" not in changed["traits"]


@pytest.mark.parametrize(
    "change",
    [
        {"readiness": 9},
        {"traits": {"consent": True}},
        {"consent": "yes"},
        {"consent": {"marketing": "yes"}},
        {"tags": [7]},
        {"tags": {"set": ["a"]}},
        {"traits": {"huge": "x" * 17_000}},
        {"traits": {f"t{number}": 1 for number in range(201)}},
    ],
)
async def test_a_change_that_cannot_be_is_refused_whole(house: House, change: dict[str, object]):
    await house.handle(an_event())
    before = await house.lead()
    await house.patch(before["id"], expected=400, **change)
    assert await house.lead() == before


async def test_half_a_surrogate_pair_is_refused(house: House):
    await house.handle(an_event())
    lead_id = (await house.lead())["id"]
    body, kind = b'{"traits": {"name": "\\ud800"}}', {"content-type": "application/json"}
    answer = await house.client.patch(f"/api/leads/{lead_id}", content=body, headers=kind)
    assert answer.status_code == 400


async def test_the_events_of_a_lead_the_newest_first(house: House):
    for number in range(5):
        at = NOON + number * HOUR
        await house.handle(an_event("Page Viewed", id=f"e{number}", at=at, received_at=at, properties={"path": "/pricing", "n": number}))
        house.clock.advance(HOUR)
    lead_id = (await house.lead())["id"]
    items, cursor = [], None
    while True:
        page = await house.get(f"/api/leads/{lead_id}/events", limit=2, **({"cursor": cursor} if cursor else {}))
        items += page["items"]
        cursor = page["next"]
        if cursor is None:
            break
    assert [item["properties"].get("n") for item in items if item["name"] == "Page Viewed"] == [4, 3, 2, 1, 0]
    assert [item["name"] for item in items if item["at"] == "2027-03-01T15:00:00Z"] == ["Readiness Changed", "Page Viewed"]
    await house.get(f"/api/leads/{lead_id}/events", expected=400, cursor="nonsense")


async def test_an_unknown_lead_is_not_found(house: House):
    for path in ("/api/leads/nobody", "/api/leads/nobody/events"):
        assert (await house.get(path, expected=404))["code"] == "not_found"
    await house.patch("nobody", expected=404, tags=["a"])


@pytest.mark.parametrize(
    ("token", "reads", "writes"), [("sk_admin", 200, 404), ("sk_viewer", 200, 403), ("pk_write", 403, 403), ("", 401, 401)]
)
async def test_who_may_read_and_write(house: House, token: str, reads: int, writes: int):
    headers = {"Authorization": f"Bearer {token}"}
    assert (await house.client.get("/api/leads", headers=headers)).status_code == reads
    assert (await house.client.get("/api/audit", headers=headers)).status_code == reads
    assert (await house.client.patch("/api/leads/nobody", json={}, headers=headers)).status_code == writes


async def test_the_audit_finds_an_event_that_was_lost(house: House):
    await house.handle(an_event())
    async with house.database.transaction() as connection:
        await connection.exec_driver_sql("CREATE TABLE hidden AS SELECT * FROM scoring_event WHERE id = 'e1'")
        await connection.exec_driver_sql("DELETE FROM scoring_event WHERE id = 'e1'")
    checks = {check["name"]: check["ok"] for check in (await house.get("/api/audit"))["checks"]}
    assert not checks["recorded events = activities told"]
    assert not checks["evidence = recorded events folded anew"]
    async with house.database.transaction() as connection:
        await connection.exec_driver_sql("INSERT INTO scoring_event SELECT * FROM hidden")
