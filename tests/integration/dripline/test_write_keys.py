"""A write key stands openly in web pages: it posts events, and every other door says so."""

import re
from pathlib import Path

import httpx
import pytest

from dripline.embedded import opened

KEY = "pk_open-to-everybody"
BEARER = {"Authorization": f"Bearer {KEY}"}


@pytest.fixture
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SALES_WEBHOOK_URL", raising=False)
    monkeypatch.setenv("DRIPLINE_WRITE_KEY", KEY)
    return tmp_path / "data"


async def test_it_posts_events_and_opens_nothing_else(alone: Path):
    async with opened(alone) as (client, _):
        paths = (await client.get("/openapi.json")).json()["paths"]
        asked = [(method.upper(), path) for path, methods in paths.items() for method in methods if path.startswith("/api/")]
        assert len(asked) > 20
        assert [route for route in asked if not await refuses(client, *route)] == []
        posted = await client.post("/v1/b", json={"writeKey": KEY, "batch": [{"type": "track", "event": "Looked", "anonymousId": "a1"}]})
        assert (posted.status_code, posted.json()) == (200, {"success": True})


async def refuses(client: httpx.AsyncClient, method: str, path: str) -> bool:
    """Whether a write key is told that it may not, and what it may."""
    body = {} if method in ("POST", "PATCH") else None
    answer = await client.request(method, re.sub(r"\{[^}]*\}", "x", path), json=body, headers=BEARER)
    return answer.status_code == 403 and answer.json()["code"] == "forbidden" and "/v1/" in answer.json()["message"]
