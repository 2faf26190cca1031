"""Who may what: every route of every service is guarded as the table in docs/api.md says, and none stands open."""

import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.types import ASGIApp

from dripline.data_folder import DataFolder
from dripline.embedded import House, build_house
from dripline.settings import RunSettings
from shared.playbooks import playbook_of

PAGE = (Path(__file__).parents[3] / "docs" / "api.md").read_text()
ROLES = ("viewer", "sales", "marketer")
INTERNAL = {
    ("GET", "/api/audit/published"): {"marketer", "viewer"},
    ("GET", "/api/audit/published/ids"): {"marketer", "viewer"},
    ("POST", "/api/audit/unknown"): {"marketer", "viewer"},
    ("GET", "/api/audit/refolded"): {"marketer", "sales", "viewer"},
    ("GET", "/api/audit/received"): {"marketer", "viewer"},
    ("GET", "/api/endings"): {"marketer", "sales", "viewer"},
    ("POST", "/api/dead-letters/naming"): set(),
    ("GET", "/api/addresses/{}/erasure"): set(),
    ("GET", "/api/exports/{}"): set(),
    ("GET", "/api/exports/{}/events"): set(),
}
"""What the services ask of each other through the front; it is no part of the interface."""
OF_EACH_SERVICE = {("GET", "/api/audit"): {"viewer", "sales", "marketer"}}
"""Where a service is more open than the front, which asks all of them."""


def nameless(path: str) -> str:
    return re.sub(r"\{[^}]*\}", "{}", path)


def told() -> dict[tuple[str, str], set[str]]:
    """The table: each route with the roles that may, beside admins."""
    table = PAGE[PAGE.index("| roles | routes |") :].partition("\n\n")[0].splitlines()[2:]
    found = {}
    for row in table:
        roles, routes = row.strip("| ").split(" | ")
        for method, path in re.findall(r"`([A-Z]+) (/[^`]*)`", routes):
            found[method, nameless(path)] = set(re.findall(r"`(\w+)`", roles))
    return found


def walk(routes: Any) -> Iterator[tuple[str, str]]:
    for route in routes:
        inner = getattr(route, "original_router", None)
        if inner is not None:
            yield from walk(inner.routes)
        elif getattr(route, "path", "").startswith("/api/"):
            yield from ((method, route.path) for method in route.methods)


@pytest.fixture
async def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[House]:
    monkeypatch.chdir(tmp_path)
    folder = DataFolder(tmp_path / "data")
    with folder.locked():
        house = build_house(folder, RunSettings(), "http://dripline.test", "open sesame")
        await house.ports.playbooks.publish(playbook_of({"playbook.yaml": b"name: Test\n", "readiness.yaml": b"rules: []\n"}))
        await house.ports.keys.reload()
        yield house
        await house.close()


def apps(house: House) -> Iterator[tuple[ASGIApp, list[tuple[str, str]]]]:
    """Every service with its routes; ingest's stand behind its tracking calls."""
    for service in house.services.values():
        behind = getattr(service.app, "_others", service.app)
        yield service.app, sorted(set(walk(behind.routes)))


async def allowed(app: ASGIApp, method: str, path: str, tokens: dict[str, str]) -> set[str]:
    found = set()
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://service") as client:
        for role, token in tokens.items():
            headers = {"Authorization": f"Bearer {token}"} if token else {}
            answer = await client.request(method, re.sub(r"\{[^}]*\}", "x", path), headers=headers, json=None if method == "GET" else {})
            if answer.status_code not in (401, 403):
                found.add(role)
    return found


async def test_every_route_is_guarded_as_the_page_says(house: House):
    tokens = {role: (await house.ports.keys.create("secret", role, role))[1] for role in ROLES}
    tokens |= {"admin": house.api_key, "nobody": "", "a page": house.write_key}
    table, wrong, seen = told(), [], set()
    for app, routes in apps(house):
        for method, path in routes:
            route = (method, nameless(path))
            wanted = table.get(route, INTERNAL.get(route))
            may = await allowed(app, method, path, tokens)
            seen.add(route)
            if may not in ({*(wanted or ()), "admin"}, {*OF_EACH_SERVICE.get(route, wanted or ()), "admin"}) or wanted is None:
                wrong.append((method, path, sorted(may), wanted))
    assert wrong == []
    assert set(table) - seen == set()
