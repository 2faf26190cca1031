"""Every path of the interface, as a caller asks it: for comparing one way to run with the other."""

from base64 import b64encode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from shared.clock import real_now

PIXEL = b64encode(b'{"writeKey": "pk_none", "type": "page"}').decode()


@dataclass(frozen=True)
class Asked:
    """One request; `loose` where the bodies differ by design and only the status is compared, `but` the keys that do."""

    method: str
    path: str
    body: Any = None
    params: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    loose: bool = False
    but: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.method} {self.path} {dict(self.params) or ''} {self.body or ''}"


def tracking() -> Iterator[Asked]:
    """INTERFACE §4."""
    for call in ("track", "t"):
        yield Asked("POST", f"/v1/{call}", {"userId": "cy", "event": "Looked"})
    for call in ("identify", "i", "page", "p", "screen", "s"):
        yield Asked("POST", f"/v1/{call}", {"userId": "cy", "name": "Home"})
    yield Asked("POST", "/v1/group", {"userId": "cy", "groupId": "acme"})
    yield Asked("POST", "/v1/alias", {"userId": "cy", "previousId": "cy-before"})
    for call in ("batch", "import", "b"):
        yield Asked("POST", f"/v1/{call}", {"batch": [{"type": "track", "userId": "cy", "event": "Looked"}, {"type": "track"}]})
    yield Asked("POST", "/v1/track", {"userId": "cy"})
    yield Asked("POST", "/v1/nothing", {})
    yield Asked("POST", "/v1/track", {"userId": "cy", "event": "X"}, headers={"authorization": "Basic bm9ib2R5Og=="})
    yield Asked("GET", "/v1/pixel", params={"data": PIXEL}, loose=True)
    yield Asked("GET", "/v1/projects/pk_nobody/settings")
    yield Asked("GET", "/dripline.js", loose=True)


def reading(known: Mapping[str, str]) -> Iterator[Asked]:
    """The reads of INTERFACE §5."""
    lead, delivery, letter = known["lead"], known["delivery"], known["letter"]
    for params in (
        {"user_id": "ana"},
        {"email": "ana@example.com"},
        {"q": "ana"},
        {"hot": "true"},
        {"min_readiness": "9"},
        {"sleeping": "1"},
    ):
        yield Asked("GET", "/api/leads", params=params)
    for least in ("9", "many"):
        yield Asked("GET", "/api/leads", params={"min_readiness": least})
    yield Asked("GET", f"/api/leads/{lead}")
    yield Asked("GET", f"/api/leads/{lead}", params={"as_of": real_now().isoformat()})
    yield Asked("GET", f"/api/leads/{lead}/timeline")
    yield Asked("GET", f"/api/leads/{lead}/timeline", params={"limit": "2"}, loose=True)
    yield Asked("GET", f"/api/leads/{lead}/timeline", params={"cursor": "bad"})
    yield Asked("GET", f"/api/leads/{lead}/events")
    yield Asked("GET", f"/api/leads/{lead}/export", but=("addresses",))  # replicas meet at an address's row, which `run` need not make
    for path in (
        "/api/leads/nobody",
        "/api/leads/nobody/timeline",
        "/api/leads/nobody/export",
        "/api/journeys/none",
        "/api/deliveries/none",
    ):
        yield Asked("GET", path)
    for path in ("/api/dead-letters/none", "/api/erasures/nobody", "/api/nothing", "/nothing"):
        yield Asked("GET", path)
    for path in ("/api/journeys", "/api/journeys/welcome", "/api/journeys/hot", "/api/handoffs", "/api/endpoints", "/api/suppressions"):
        yield Asked("GET", path)
    for path in ("/api/enrollments", "/api/visits", "/api/deliveries", "/api/handoffs"):
        yield Asked("GET", path, params={"lead_id": lead})
    for params in ({"kind": "webhook"}, {"status": "sent", "journey": "welcome"}, {"status": "odd"}, {"limit": "1"}):
        yield Asked("GET", "/api/deliveries", params=params)
    yield Asked("GET", f"/api/deliveries/{delivery}")
    for path in ("/api/dead-letters", f"/api/dead-letters/{letter}", "/api/audit", "/api/kpi", "/api/playbook", "/api/keys"):
        yield Asked("GET", path)
    yield Asked("GET", "/api/kpi", params={"days": "7"})
    yield Asked("GET", "/api/addresses/nobody@example.com/export")
    yield Asked("GET", "/healthz")
    yield Asked("GET", "/readyz")
    yield Asked("GET", "/metrics", loose=True)
    for path in ("/api/leads", "/api/deliveries", "/api/journeys", "/api/audit", "/api/keys", f"/api/leads/{lead}/timeline"):
        yield Asked("GET", path, headers={"authorization": "Bearer sk_nobody"})
        yield Asked("GET", path, headers={"authorization": ""})
        yield Asked("DELETE", path)


def acting(known: Mapping[str, str]) -> Iterator[Asked]:
    """What INTERFACE §5 lets a caller do."""
    lead, delivery, letter = known["lead"], known["delivery"], known["letter"]
    yield Asked("PATCH", f"/api/leads/{lead}", {"traits": {"plan": "team"}, "tags": {"add": ["vip"]}})
    yield Asked("PATCH", f"/api/leads/{lead}", {"consent": {"marketing": True, "source": "the fair"}})
    yield Asked("PATCH", f"/api/leads/{lead}", {"odd": 1})
    for what in ("pause", "resume", "drain"):
        yield Asked("POST", f"/api/journeys/cart/{what}")
    yield Asked("POST", "/api/journeys/none/pause")
    yield Asked("POST", "/api/journeys/welcome/enrollments", {"lead_id": lead})
    yield Asked("POST", f"/api/deliveries/{delivery}/retry")
    yield Asked("POST", f"/api/deliveries/{delivery}/resolve", {"as": "sent"})
    for _ in range(2):
        yield Asked("POST", "/api/messages", {"template": "hello", "lead_id": lead}, headers={"idempotency-key": "one"})
    yield Asked("POST", "/api/messages", {"template": "none", "lead_id": lead})
    yield Asked("POST", "/api/endpoints/sales/enable")
    yield Asked("POST", "/api/suppressions", {"address": "no@example.com", "scope": "all", "reason": "asked"})
    yield Asked("DELETE", "/api/suppressions/no@example.com")
    yield Asked("POST", f"/api/dead-letters/{letter}/replay")
    yield Asked("POST", "/api/dead-letters/none/replay")
    yield Asked("POST", "/api/keys", {"kind": "secret", "role": "viewer", "name": "theirs"})
    yield Asked("POST", "/api/keys", {"kind": "odd"})
    yield Asked("POST", "/api/playbook", {"files": {"playbook.yaml": "mail: 1\n"}}, loose=True)


def readers(known: Mapping[str, str]) -> Iterator[Asked]:
    """The public pages of INTERFACE §6, with a reader's token and with none that we gave."""
    token = known["token"]
    for path in (f"/u/{token}", f"/p/{token}"):
        yield Asked("GET", path, loose=True)
    yield Asked("POST", f"/u/{token}", loose=True)
    for path in ("/u/none", "/p/none", "/c/none", "/o/none.gif", "/confirm/none", "/hooks/handoff/none"):
        yield Asked("GET", path, loose=True)
    for path in ("/u/none", "/p/none", "/confirm/none", "/hooks/handoff/none", "/hooks/mail/ses"):
        yield Asked("POST", path, loose=True)


def forgetting(known: Mapping[str, str]) -> Iterator[Asked]:
    """Last of all; `removed` names what there is to forget under that roof."""
    yield Asked("DELETE", f"/api/leads/{known['lead']}", loose=True)
    yield Asked("GET", f"/api/erasures/{known['lead']}", loose=True)
    yield Asked("GET", f"/api/leads/{known['lead']}")


def shape(value: Any) -> Any:
    """What a reader of JSON may rely on: which keys there are, and what lists hold."""
    if isinstance(value, dict):
        return {key: shape(inner) for key, inner in sorted(value.items())}
    if isinstance(value, list):
        return sorted({repr(shape(inner)) for inner in value})
    return "…"
