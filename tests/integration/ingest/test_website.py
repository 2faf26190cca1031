"""What a website loads from ingest: the script small, cached, and the same for everybody."""

import gzip

import pytest

from services.ingest.website import SCRIPT
from tests.ingest_house import Answer, Ingest, call

LARGEST_SCRIPT = 5_000
"""Bytes of `dripline.js` as a browser loads it."""


async def get(path: str, headers: dict[str, str] | None = None, method: str = "GET") -> Answer:
    return await call(Ingest().api, path, [b""], headers or {}, method=method)


async def test_the_script_is_small_and_loaded_as_it_was_written() -> None:
    packed = await get("/dripline.js", {"accept-encoding": "gzip, deflate, br"})
    assert (packed.status, packed.headers["content-encoding"]) == (200, "gzip")
    assert gzip.decompress(packed.body) == SCRIPT.read_bytes()
    assert len(packed.body) < LARGEST_SCRIPT
    plain = await get("/dripline.js")
    assert "content-encoding" not in plain.headers
    assert plain.body == SCRIPT.read_bytes()


async def test_the_script_may_be_used_by_any_page_and_kept_for_a_while() -> None:
    headers = (await get("/dripline.js")).headers
    assert headers["content-type"] == "text/javascript; charset=utf-8"
    assert headers["cache-control"] == "public, max-age=3600"
    assert headers["vary"] == "Accept-Encoding"
    assert headers["access-control-allow-origin"] == "*"
    assert headers["cross-origin-resource-policy"] == "cross-origin"
    assert headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("encoding", ["gzip", "identity"])
async def test_a_browser_that_has_the_script_does_not_load_it_again(encoding: str) -> None:
    tag = (await get("/dripline.js", {"accept-encoding": encoding})).headers["etag"]
    again = await get("/dripline.js", {"accept-encoding": encoding, "if-none-match": f'"other", {tag}'})
    assert (again.status, again.body, again.headers["etag"]) == (304, b"", tag)
    assert (await get("/dripline.js", {"if-none-match": '"other"'})).status == 200


async def test_the_script_can_be_asked_for_without_loading_it() -> None:
    answer = await get("/dripline.js", method="HEAD")
    assert (answer.status, answer.headers["content-type"]) == (200, "text/javascript; charset=utf-8")


def test_the_script_evaluates_nothing_and_names_no_other_address() -> None:
    text = SCRIPT.read_text()
    assert [word for word in ("eval(", "new Function", "innerHTML", "document.write", "http://", "//cdn", "https://") if word in text] == []
