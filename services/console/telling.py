"""What the lead page says of an enrollment and of each kind of timeline item. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from services.console.words import plain

SAID_BY_THE_DELIVERY = frozenset({"Email Sent", "Email Suppressed", "Email Failed", "Email In Doubt"})
"""Events that the delivery's own line in the timeline says already."""

OUTCOMES = {
    "published": "",
    "waited": "began to wait",
    "branched": "chose",
    "updated": "said of the lead",
    "skipped": "skipped",
    "holdout": "skipped (holdout)",
    "exited": "left",
}


UNNAMED = {"identify": "Identified", "group": "Company named", "alias": "Ids joined"}
"""What to call the calls that carry no event name."""


OF_A_MAIL = frozenset({"journey", "step", "template", "enrollment_id", "transition", "message_id"})
"""What an event of one of our mails carries to say whose it is."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the timeline, as a person reads it."""

    at: str
    kind: str  # event | readiness | step | delivery
    title: str
    detail: str = ""
    status: str = ""
    marks: tuple[str, ...] = ()
    after: int = 0  # readiness lines: where it came to


@dataclass(frozen=True, slots=True)
class Walk:
    """One enrollment, as a person reads it."""

    journey: str
    key: str
    where: str
    tone: str
    story: str
    wake_at: str | None
    ahead: str = ""  # what it does now and then, where the journey's graph says so


UNSETTLED = frozenset({"deferred", "failed", "in_doubt"})
"""What a person may have to do something about."""


def line(item: Mapping[str, Any]) -> Line | None:
    """What to say of a timeline item; None where another line says it."""
    match item["kind"]:
        case "readiness":
            before, after = item["properties"].get("before", 1), item["properties"].get("after", 1)
            return Line(item["at"], "readiness", f"Readiness {before} → {after}", after=int(after))
        case "step":
            return _step(item)
        case "delivery":
            return _delivery(item)
        case _:
            return None if item["name"] in SAID_BY_THE_DELIVERY else _event(item)


def walk(enrollment: Mapping[str, Any], ahead: str = "") -> Walk:
    """Where an enrollment stands: waiting at a step, done, or ended early and why."""
    active = enrollment["status"] == "active"
    converted = bool(enrollment.get("converted_at"))
    where = "converted" if converted else ("active" if active else enrollment["status"])
    reason = enrollment.get("reason")
    story = (
        f"at {enrollment['step']}{', its message is on its way' if enrollment.get('message_under_way') else ''}"
        if active and enrollment.get("step")
        else (f"ended: {_spoken(reason)}" if reason else "walked to the end")
    )
    tone = "good" if converted else ("wait" if active else "faint")
    holdout = " (holdout)" if enrollment.get("holdout") else ""
    under_way = bool(enrollment.get("message_under_way"))
    wake_at = enrollment.get("wake_at") if active and not under_way else None
    return Walk(enrollment["journey"], enrollment.get("key") or "", where, tone, story + holdout, wake_at, ahead)


def told_traits(lead: Mapping[str, Any]) -> dict[str, Any]:
    """The traits that nothing else on the page says."""
    return {name: value for name, value in (lead.get("traits") or {}).items() if (name, value) != ("email", lead.get("email"))}


def _event(item: Mapping[str, Any]) -> Line:
    title = item["name"] or UNNAMED.get(item["type"], item["type"])
    said = item.get("properties") or item.get("traits") or {}
    if not {"enrollment_id", "journey", "step"} <= said.keys():  # anybody may send properties of any name
        return Line(item["at"], "event", title, plain({name: value for name, value in said.items() if value != ""}) if said else "")
    rest = plain({name: value for name, value in said.items() if name not in OF_A_MAIL and value is not None})
    whence = _whence(said)
    return Line(item["at"], "event", title, f"{whence}, {rest}" if rest else whence)


def _whence(said: Mapping[str, Any]) -> str:
    """The step that a mail is of; one that no journey asked for may say what it is for."""
    return " · ".join(str(said[name]) for name in ("journey", "step") if said.get(name))


def _step(item: Mapping[str, Any]) -> Line:
    if item["step_kind"] == "end":
        why = _spoken(item["reason"]) if item.get("reason") else "walked to the end"
        return Line(item["at"], "step", f"{item['journey']} ended", why)
    outcome = OUTCOMES.get(item["outcome"], item["outcome"])
    reason = f" ({_spoken(item['reason'])})" if item.get("reason") else ""
    return Line(
        item["at"],
        "step",
        f"{item['journey']} · {item['step']}",
        f"{item['step_kind']}: {outcome}{reason}" if outcome else item["step_kind"],
    )


def _delivery(item: Mapping[str, Any]) -> Line:
    marks = tuple(word for word, field in (("opened", "opened_at"), ("clicked", "clicked_at")) if item.get(field))
    what = item.get("template") or item["delivery_kind"]
    whence = _whence(item) or "asked for over the API"
    reason = f": {_spoken(item['reason'])}" if item.get("reason") else ""
    if item["status"] in UNSETTLED and item.get("detail"):
        reason += f" ({item['detail']})"  # names the remedy
    return Line(item["at"], "delivery", what, whence + reason, item["status"], marks)


def _spoken(code: str) -> str:
    return code.replace("_", " ")
