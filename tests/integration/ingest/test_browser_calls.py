"""Calls that anybody's browser makes: the pixel, the settings of Segment's client, and how much may come."""

import base64
import json
from datetime import timedelta
from typing import Any

import pytest

from services.ingest.limits import Limits, Rate
from shared.telemetry import LIMITED_CALLS
from tests.ingest_house import Answer, Ingest, a_track, call

GIF = b"GIF89a"
FREE = Rate(0, 60)


@pytest.fixture
def ingest() -> Ingest:
    return Ingest()


async def look(ingest: Ingest, said: Any, path: str = "/v1/pixel", *, strip: bool = False, safe: bool = False) -> Answer:
    """A reader's image."""
    raw = said if isinstance(said, bytes) else json.dumps(said).encode()
    text = (base64.urlsafe_b64encode(raw) if safe else base64.b64encode(raw)).decode()
    return await call(ingest.api, path, [b""], {}, method="GET", query=f"data={text.rstrip('=') if strip else text}&x=1")


def is_image(answer: Answer, status: int = 200) -> bool:
    kept = answer.headers["cache-control"] == "no-store" and answer.headers["content-type"] == "image/gif"
    return kept and answer.status == status and answer.body.startswith(GIF)


# The pixel.


@pytest.mark.parametrize(("strip", "safe"), [(False, False), (True, False), (False, True), (True, True)])
async def test_a_pixel_tells_an_event(ingest: Ingest, strip: bool, safe: bool) -> None:
    event = a_track(writeKey="pk_test", properties={"text": "ÿ?>ä"})
    assert is_image(await look(ingest, event, strip=strip, safe=safe))
    (told,) = ingest.events
    assert (told.type, told.name, told.user_id, told.properties) == ("track", "Ebook Downloaded", "u1", {"text": "ÿ?>ä"})
    assert (told.source, told.trusted) == ("pk_11111111", False)


@pytest.mark.parametrize(
    ("path", "said", "kind"), [("/v1/pixel/page", None, "page"), ("/v1/pixel", "identify", "identify"), ("/v1/pixel", None, "track")]
)
async def test_a_pixel_says_what_kind_of_event_it_is(ingest: Ingest, path: str, said: str | None, kind: str) -> None:
    assert is_image(await look(ingest, a_track(writeKey="pk_test", type=said), path))
    assert [event.type for event in ingest.events] == [kind]


async def test_a_bad_event_is_no_bad_image_and_is_set_aside(ingest: Ingest) -> None:
    assert is_image(await look(ingest, a_track(writeKey="pk_test", event="Email Sent")))
    assert is_image(await look(ingest, b'{"writeKey": "pk_test", "event": '))
    assert [letter.code for letter in ingest.rejected] == ["reserved_name", "not_json"]
    assert {letter.source for letter in ingest.rejected} == {"pk_11111111"}
    assert not ingest.events


@pytest.mark.parametrize("query", ["", "data=", "data=%%%", "data=e30", "data=" + base64.b64encode(b'{"writeKey":"pk_x"}').decode()])
async def test_an_image_of_nobody_is_still_an_image(ingest: Ingest, query: str) -> None:
    assert is_image(await call(ingest.api, "/v1/pixel", [b""], {}, method="GET", query=query), 401)
    assert not ingest.log.topics


async def test_a_pixel_that_shows_a_secret_key_tells_nothing(ingest: Ingest) -> None:
    assert is_image(await look(ingest, a_track(writeKey="sk_test")), 403)
    assert not ingest.log.topics


async def test_a_pixel_is_an_image_though_it_cannot_be_stored(ingest: Ingest) -> None:
    ingest.log.away = True
    assert is_image(await look(ingest, a_track(writeKey="pk_test")), 503)


# What Segment's client asks for before it begins.


async def settings(ingest: Ingest, key: str = "pk_test") -> Answer:
    return await call(ingest.api, f"/v1/projects/{key}/settings", [b""], {"host": "events.example:8300"}, method="GET")


async def test_the_browser_client_is_told_to_post_here_and_nowhere_else(ingest: Ingest) -> None:
    answer = await settings(ingest)
    assert answer.json == {
        "integrations": {"Segment.io": {"apiKey": "pk_test", "apiHost": "events.example:8300/v1", "protocol": "http"}},
        "plan": {"track": {"__default": {"enabled": True, "integrations": {}}}},
        "metrics": {"sampleRate": 0},
    }
    assert answer.headers["access-control-allow-origin"] == "*"
    assert answer.headers["cache-control"] == "public, max-age=300"


async def test_behind_a_proxy_the_browser_client_is_told_the_public_address() -> None:
    told = (await settings(Ingest(public_url="https://dripline.example/in/"))).json["integrations"]["Segment.io"]
    assert (told["apiHost"], told["protocol"]) == ("dripline.example/in/v1", "https")


@pytest.mark.parametrize(("key", "status"), [("pk_x", 401), ("sk_test", 403)])
async def test_settings_are_only_for_write_keys(ingest: Ingest, key: str, status: int) -> None:
    answer = await settings(ingest, key)
    assert (answer.status, "message" in answer.json) == (status, True)


# How much may come.


def limited(key: Rate = FREE, ip: Rate = FREE, address: Rate = FREE, proxies: int = 0) -> Ingest:
    return Ingest(limits=Limits(key, ip, address), proxies=proxies)


def of_each(events: int, **overrides: Any) -> dict[str, Any]:
    return {"batch": [a_track(messageId=f"m{number}", **overrides) for number in range(events)]}


async def test_a_browser_that_brings_too_much_is_told_when_to_come_back() -> None:
    ingest = limited(ip=Rate(10, 60))
    assert (await ingest.post("/v1/b", of_each(10))).status == 200
    before = LIMITED_CALLS._value.get()
    answer = await ingest.post("/v1/b", of_each(2))
    assert (answer.status, answer.headers["retry-after"], answer.json["code"]) == (429, "12", "rate_limited")
    assert LIMITED_CALLS._value.get() == before + 1
    assert len(ingest.events) == 10
    ingest.clock.advance(timedelta(seconds=12))
    assert (await ingest.post("/v1/b", of_each(2))).status == 200


async def test_no_server_is_ever_put_off() -> None:
    ingest = limited(Rate(1, 60), Rate(1, 60), Rate(1, 60))
    for _ in range(5):
        assert (await ingest.post("/v1/batch", of_each(20, traits={"email": "a@example.com"}), key="sk_test")).status == 200


async def test_one_key_has_its_limit_wherever_it_is_used() -> None:
    ingest = limited(key=Rate(3, 60))
    answers = [await ingest.post("/v1/t", a_track(), peer=f"192.0.2.{number}") for number in range(4)]
    assert [answer.status for answer in answers] == [200, 200, 200, 429]


async def test_each_network_has_its_limit() -> None:
    ingest = limited(ip=Rate(1, 60))
    peers = ("192.0.2.1", "192.0.2.2", "192.0.2.1", "2001:db8::1", "2001:db8::2")
    assert [(await ingest.post("/v1/t", a_track(), peer=peer)).status for peer in peers] == [200, 200, 429, 200, 429]


async def test_behind_a_proxy_the_network_is_the_one_that_the_proxy_saw() -> None:
    ingest = limited(ip=Rate(1, 60), proxies=1)
    said = ("192.0.2.1", "192.0.2.2", "9.9.9.9, 192.0.2.1")
    assert [(await ingest.post("/v1/t", a_track(), headers={"x-forwarded-for": chain})).status for chain in said] == [200, 200, 429]
    unasked = limited(ip=Rate(1, 60))
    assert [(await unasked.post("/v1/t", a_track(), headers={"x-forwarded-for": chain})).status for chain in said] == [200, 429, 429]


@pytest.mark.parametrize(
    "saying",
    [
        {"type": "identify", "traits": {"email": "ana@example.com"}},
        {"properties": {"email": " Ana@Example.com"}},
        {"context": {"traits": {"email": "ana@example.com"}}},
        {"properties": [], "traits": {"email": "ana@example.com"}},
    ],
)
async def test_nobody_floods_one_address(saying: dict[str, Any]) -> None:
    ingest = limited(address=Rate(2, 3600))
    body = {"batch": [a_track(**saying)]}
    statuses = [(await ingest.post("/v1/b", body, peer=f"192.0.2.{number}")).status for number in range(3)]
    assert statuses == [200, 200, 429]
    assert (await ingest.post("/v1/b", {"batch": [a_track(properties={"email": "bo@example.com"})]})).status == 200
    assert (await ingest.post("/v1/b", of_each(5))).status == 200


async def test_an_address_is_known_however_it_is_spelled() -> None:
    ingest = limited(address=Rate(1, 3600))
    spelled = b'{"userId":"u","event":"E","properties":{"\\u0065\\u006d\\u0061\\u0069\\u006c":"ana\\u0040example.com"}}'
    assert [(await ingest.post("/v1/t", spelled)).status for _ in range(2)] == [200, 429]


async def test_the_context_of_a_batch_names_an_address_too() -> None:
    ingest = limited(address=Rate(1, 3600))
    body = of_each(1) | {"context": {"traits": {"email": "ana@example.com"}}}
    assert [(await ingest.post("/v1/b", body)).status for _ in range(2)] == [200, 429]


async def test_a_pixel_is_limited_as_every_call() -> None:
    ingest = limited(key=Rate(2, 60))
    assert is_image(await look(ingest, a_track(writeKey="pk_test")))
    assert is_image(await look(ingest, b'{"writeKey":"pk_test",'))
    assert is_image(await look(ingest, a_track(writeKey="pk_test")), 429)
    assert is_image(await look(ingest, b'{"writeKey":"pk_test",'), 429)
