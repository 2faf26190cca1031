"""The tracking API as a client sees it: who may post, how much, and what each answer means."""

import asyncio
import gzip
import json
import zlib
from typing import Any

import pytest

from services.ingest.intake import LARGEST_BODY, LARGEST_INFLATED, Body, Room
from shared.telemetry import RETRIED_CALLS
from tests.ingest_house import Ingest, a_track, basic, call


@pytest.fixture
def ingest() -> Ingest:
    return Ingest()


def a_batch(*items: Any, **beside: Any) -> dict[str, Any]:
    return {"batch": list(items or [a_track()])} | beside


@pytest.mark.parametrize("path", ["track", "identify", "page", "screen", "track/"])
async def test_a_single_call_is_answered_with_exactly_success(ingest: Ingest, path: str) -> None:
    answer = await ingest.post(f"/v1/{path}", a_track())
    assert (answer.status, answer.body) == (200, b'{"success":true}')
    (event,) = ingest.events
    assert event.type == path.strip("/")
    assert event.source == "pk_11111111"
    assert not event.trusted


@pytest.mark.parametrize("path", ["/v1/batch", "/v1/batch/", "/v1/import"])
async def test_a_batch_is_taken_whole(ingest: Ingest, path: str) -> None:
    answer = await ingest.post(path, a_batch(a_track(messageId="m1"), a_track(messageId="m2")))
    assert (answer.status, answer.body) == (200, b'{"success":true}')
    assert [(event.message_id, event.historical) for event in ingest.events] == [("m1", "import" in path), ("m2", "import" in path)]


async def test_a_secret_key_is_trusted(ingest: Ingest) -> None:
    await ingest.post("/v1/track", a_track(), key="sk_test")
    assert ingest.events[0].trusted


# Who may post.


@pytest.mark.parametrize("value", [basic("pk_test"), "basic cGtfdGVzdA==", "Basic cGtfdGVzdDpzZWNyZXQ="])
async def test_the_key_may_come_as_the_user_of_basic_authentication(ingest: Ingest, value: str) -> None:
    assert (await ingest.post("/v1/track", a_track(), headers={"authorization": value})).status == 200


@pytest.mark.parametrize("path", ["/v1/track", "/v1/batch"])
async def test_the_key_may_come_in_the_body(ingest: Ingest, path: str) -> None:
    body = (a_batch() if "batch" in path else a_track()) | {"writeKey": "pk_test"}
    assert (await ingest.post(path, body, key=None)).status == 200
    assert (await ingest.post(path, body)).status == 200


@pytest.mark.parametrize(
    ("key", "written"), [(None, None), ("pk_x", None), (None, "pk_x"), ("pk_test", "sk_test"), ("pk_test", ""), ("pk_test", 7), ("", None)]
)
async def test_an_unknown_key_or_two_different_ones_are_refused(ingest: Ingest, key: str | None, written: Any) -> None:
    answer = await ingest.post("/v1/track", a_track() | ({} if written is None else {"writeKey": written}), key=key)
    assert (answer.status, answer.json["code"]) == (401, "unauthorized")
    assert not ingest.log.topics


@pytest.mark.parametrize("value", ["Basic", "Basic %%%", "Basic /w==", "Bearer pk_test"])
async def test_a_broken_header_is_no_key(ingest: Ingest, value: str) -> None:
    assert (await ingest.post("/v1/track", a_track(), headers={"authorization": value})).status == 401


async def test_keys_that_cannot_be_read_hold_the_caller_off(ingest: Ingest) -> None:
    ingest.keys.away = True
    answer = await ingest.post("/v1/track", a_track(), key="pk_new")
    assert (answer.status, answer.headers["retry-after"]) == (503, "5")


# What is refused, and what is set aside.


async def test_one_bad_event_is_set_aside_and_its_neighbours_pass(ingest: Ingest) -> None:
    answer = await ingest.post("/v1/batch", a_batch(a_track(), a_track(event="Email Sent"), a_track(messageId="m2")))
    assert answer.status == 200
    assert answer.json["success"] is True
    ((rejected,), (letter,)) = answer.json["rejected"], ingest.rejected
    assert (rejected["index"], rejected["code"]) == (1, "reserved_name")
    assert rejected["message"] == letter.message
    assert (letter.code, letter.source, json.loads(letter.payload)) == ("reserved_name", "pk_11111111", a_track(event="Email Sent"))
    assert len(ingest.events) == 2


async def test_a_single_bad_event_is_refused_and_set_aside(ingest: Ingest) -> None:
    answer = await ingest.post("/v1/track", a_track(event=""))
    assert (answer.status, answer.json["code"]) == (400, "no_event")
    assert [letter.code for letter in ingest.rejected] == ["no_event"]
    assert not ingest.events


async def test_what_is_not_json_is_refused(ingest: Ingest) -> None:
    answer = await ingest.post("/v1/batch", b"name=value")
    assert (answer.status, answer.json["code"]) == (400, "not_json")


async def test_a_log_that_is_away_is_never_answered_with_success(ingest: Ingest) -> None:
    ingest.log.away = True
    for body in (a_batch(), a_batch(a_track(event=""))):
        answer = await ingest.post("/v1/batch", body)
        assert (answer.status, answer.headers["retry-after"], answer.json["code"]) == (503, "5", "unavailable")


@pytest.mark.parametrize(
    "content_type", ["application/json", "text/plain", "text/plain;charset=UTF-8", "application/x-www-form-urlencoded", ""]
)
async def test_the_content_type_does_not_matter(ingest: Ingest, content_type: str) -> None:
    assert (await ingest.post("/v1/track", a_track(), headers={"content-type": content_type})).status == 200


async def test_other_paths_and_methods_are_left_to_the_pages(ingest: Ingest) -> None:
    assert (await ingest.post("/v1/unknown", a_track())).status == 404
    assert (await call(ingest.api, "/v1/track", [b""], {}, method="GET")).status == 404


async def test_a_retried_call_is_counted(ingest: Ingest) -> None:
    before = RETRIED_CALLS._value.get()
    for count in ("0", "", "2"):
        await ingest.post("/v1/track", a_track(), headers={"x-retry-count": count})
    assert RETRIED_CALLS._value.get() == before + 1


# What a browser needs.


SHORT = {"t": "track", "i": "identify", "p": "page", "s": "screen", "g": "group", "a": "alias"}


@pytest.mark.parametrize(("path", "kind"), SHORT.items())
async def test_the_short_path_of_a_call_is_the_same_call(ingest: Ingest, path: str, kind: str) -> None:
    answer = await ingest.post(f"/v1/{path}", a_track(type=kind, groupId="g1", previousId="old", writeKey="pk_test"), key=None)
    assert (answer.status, answer.body) == (200, b'{"success":true}')
    assert [event.type for event in ingest.events] == [kind]


async def test_the_short_batch_is_a_batch(ingest: Ingest) -> None:
    assert (await ingest.post("/v1/b", a_batch(a_track(messageId="m1"), a_track(messageId="m2")))).status == 200
    assert [event.message_id for event in ingest.events] == ["m1", "m2"]


async def test_what_the_browser_client_says_of_itself_is_taken_and_let_go(ingest: Ingest) -> None:
    answer = await ingest.post("/v1/m", {"series": [{"type": "Counter", "metric": "analytics_js.invoke", "value": 1}]}, key=None)
    assert (answer.status, answer.json) == (200, {"success": True})
    assert not ingest.log.topics


async def test_an_alias_by_a_browser_is_not_trusted(ingest: Ingest) -> None:
    for key in ("pk_test", "sk_test"):
        assert (await ingest.post("/v1/a", a_track(previousId="u2", messageId=key), key=key)).status == 200
    assert [(event.type, event.trusted) for event in ingest.events] == [("alias", False), ("alias", True)]


async def test_a_page_of_another_origin_may_ask_and_is_told_for_two_hours(ingest: Ingest) -> None:
    asking = {
        "origin": "https://shop.example",
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization,content-type",
    }
    answer = await call(ingest.api, "/v1/t", [b""], asking, method="OPTIONS")
    assert (answer.status, answer.body) == (204, b"")
    assert answer.headers == {
        "access-control-allow-methods": "POST, GET, OPTIONS",
        "access-control-allow-headers": "authorization, content-type, content-encoding, x-retry-count",
        "access-control-max-age": "7200",
        "access-control-allow-origin": "https://shop.example",
        "access-control-allow-credentials": "true",
        "access-control-expose-headers": "Retry-After, X-RateLimit-Reset",
        "vary": "Origin",
    }


@pytest.mark.parametrize(("key", "body", "status"), [("pk_test", a_track(), 200), ("pk_x", a_track(), 401), ("pk_test", b"{", 400)])
async def test_a_page_may_read_every_answer_and_a_server_pays_nothing_for_it(ingest: Ingest, key: str, body: Any, status: int) -> None:
    for path in ("/v1/track", "/v1/t"):
        answer = await ingest.post(path, body, key=key, headers={"origin": "https://shop.example"})
        assert (answer.status, answer.headers["access-control-allow-origin"]) == (status, "https://shop.example")
        assert (answer.headers["access-control-allow-credentials"], answer.headers["vary"]) == ("true", "Origin")
        assert answer.headers["access-control-expose-headers"] == "Retry-After, X-RateLimit-Reset"
        assert "access-control-allow-origin" not in (await ingest.post(path, body, key=key)).headers


async def test_a_page_reads_when_to_come_back(ingest: Ingest) -> None:
    ingest.log.away = True
    answer = await ingest.post("/v1/t", a_track(), headers={"origin": "https://shop.example"})
    assert (answer.status, answer.headers["retry-after"]) == (503, "5")
    assert answer.headers["access-control-allow-origin"] == "https://shop.example"


# Limits while the body streams in.


async def test_a_body_may_arrive_in_pieces(ingest: Ingest) -> None:
    body = json.dumps(a_batch(a_track(properties={"text": "é" * 50}))).encode()
    answer = await ingest.post("/v1/batch", tuple(body[at : at + 7] for at in range(0, len(body), 7)))
    assert answer.status == 200
    assert ingest.events[0].properties == {"text": "é" * 50}


async def test_a_body_over_a_mebibyte_is_refused_before_all_of_it_arrived(ingest: Ingest) -> None:
    answer = await ingest.post("/v1/batch", (b" " * 65536,) * 1000)
    assert (answer.status, answer.json["code"]) == (400, "too_large")
    assert (await ingest.post("/v1/batch", b" " * (LARGEST_BODY + 1))).status == 400
    fits = json.dumps(a_batch()).encode()
    assert (await ingest.post("/v1/batch", fits + b" " * (LARGEST_BODY - len(fits)))).status == 200


async def test_gzip_is_inflated(ingest: Ingest) -> None:
    packed = gzip.compress(json.dumps(a_batch()).encode())
    assert (await ingest.post("/v1/batch", (packed[:9], packed[9:]), headers={"content-encoding": "GZip"})).status == 200
    assert len(ingest.events) == 1


async def test_a_bomb_is_refused(ingest: Ingest) -> None:
    packed = gzip.compress(b" " * (LARGEST_INFLATED + 1))
    answer = await ingest.post("/v1/batch", packed, headers={"content-encoding": "gzip"})
    assert (answer.status, answer.json["code"]) == (400, "too_large")
    body = json.dumps(a_batch()).encode()
    full = gzip.compress(body + b" " * (LARGEST_INFLATED - len(body)))
    assert (await ingest.post("/v1/batch", full, headers={"content-encoding": "gzip"})).status == 200


@pytest.mark.parametrize("packed", [b"{}", b"", gzip.compress(b"{}")[:-3], gzip.compress(b"{}") + b"x", zlib.compress(b"{}")])
async def test_what_is_no_whole_gzip_is_refused(ingest: Ingest, packed: bytes) -> None:
    answer = await ingest.post("/v1/track", packed, headers={"content-encoding": "gzip"})
    assert (answer.status, answer.json["code"]) == (400, "bad_encoding")


async def test_other_encodings_are_refused_and_identity_is_none(ingest: Ingest) -> None:
    assert (await ingest.post("/v1/track", a_track(), headers={"content-encoding": "br"})).json["code"] == "bad_encoding"
    assert (await ingest.post("/v1/track", a_track(), headers={"content-encoding": "identity"})).status == 200


@pytest.mark.parametrize(("key", "memory"), [("sk_test", 1600), ("pk_test", 4000)])
async def test_more_than_may_be_held_at_once_is_put_off(key: str, memory: int) -> None:
    small = Ingest(memory=memory)
    answer = await small.post("/v1/track", a_track(properties={"text": "x" * 1000}), key=key)
    assert (answer.status, answer.headers["retry-after"]) == (429, "1")
    for _ in range(20):  # what was held is given back, whatever the answer was
        assert (await small.post("/v1/track", a_track(properties={"text": "x" * 500}), key=key)).status == 200
        assert (await small.post("/v1/track", b"x" * 900, key=key)).status == 400
        assert (await small.post("/v1/track", (b"x" * 900, b"x" * 900), key=key)).status == 429


@pytest.mark.parametrize(("headers", "others"), [({}, "pk_test"), ({"authorization": basic("pk_test")}, "sk_test")])
async def test_slow_bodies_keep_only_their_like_out(headers: dict[str, str], others: str) -> None:
    small = Ingest(memory=8000 if headers == {} else 4000)
    slow = [asyncio.ensure_future(small.begin("/v1/track", b"x" * 400, headers)) for _ in range(5)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert [one.done() for one in slow] == [False, False, True, True, True]
    assert {one.result().status for one in slow if one.done()} == {429}
    assert (await small.post("/v1/track", b"x" * 400, key=None, headers=headers)).status == 429
    assert (await small.post("/v1/track", a_track(properties={"text": "x" * 1000}), key=others)).status == 200
    for one in slow:
        one.cancel()
    await asyncio.gather(*slow, return_exceptions=True)
    assert (await small.post("/v1/track", a_track() | {"writeKey": "pk_test"}, key=None, headers=headers)).status == 200


async def test_a_body_that_does_not_arrive_in_time_is_let_go(ingest: Ingest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.ingest.intake.STRANGERS_SECONDS", 0.0)
    answer = await Ingest().begin("/v1/track", b"{", {})
    assert (answer.status, answer.headers["retry-after"]) == (503, "5")


async def test_headers_whose_body_never_begins_are_let_go_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.ingest.intake.STRANGERS_SECONDS", 0.0)
    async with asyncio.timeout(5):
        answer = await Ingest().announce("/v1/track", {})
    assert (answer.status, answer.headers["retry-after"]) == (503, "5")


async def test_a_body_that_begins_late_but_in_time_is_read_whole_and_only_it_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    limits: list[float] = []
    timeout = asyncio.timeout
    monkeypatch.setattr("services.ingest.intake.asyncio.timeout", lambda seconds: limits.append(seconds) or timeout(seconds))
    pieces = [{"type": "http.request", "body": b"{", "more_body": True}, {"type": "http.request", "body": b"}", "more_body": False}]

    async def late() -> Any:
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return pieces.pop(0)

    async def at_once() -> Any:
        return {"type": "http.request", "body": b"[]", "more_body": False}

    assert await Body(Room(100, 60.0)).read(late, "") == b"{}"
    assert await Body(Room(100, 60.0)).read(at_once, "") == b"[]"
    assert limits == [60.0]


async def test_a_stranger_is_sent_away_before_his_body_is_taken_apart(ingest: Ingest, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(*_: Any, **__: Any) -> None:
        raise AssertionError("taken apart")

    monkeypatch.setattr("services.ingest.tracking.read", read)
    for body in (b"{", {"batch": []}, {"writeKey": "pk_x"}, {"batch": [{"writeKey": f"pk_{number}"} for number in range(100)]}):
        assert (await ingest.post("/v1/batch", body, key=None)).status == 401


async def test_a_client_that_hangs_up_is_not_answered(ingest: Ingest) -> None:
    scope = {"type": "http", "method": "POST", "path": "/v1/track", "headers": []}
    arriving = [{"type": "http.request", "body": b"{", "more_body": True}, {"type": "http.disconnect"}]

    async def receive() -> Any:
        return arriving.pop(0)

    async def send(message: Any) -> None:
        raise AssertionError(message)

    await ingest.api(scope, receive, send)
    assert not ingest.log.topics
