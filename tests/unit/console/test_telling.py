"""What the lead page says."""

import pytest

from services.console.telling import line, walk

AT = "2027-03-01T12:00:00Z"


def test_a_readiness_change_says_from_where_to_where():
    said = line({"kind": "readiness", "at": AT, "name": "Readiness Changed", "properties": {"before": 3, "after": 7}})
    assert said is not None
    assert (said.title, said.after) == ("Readiness 3 → 7", 7)


def test_an_event_says_its_properties():
    said = line({"kind": "event", "at": AT, "name": "Link Clicked", "type": "track", "properties": {"paid": True}})
    assert said is not None
    assert (said.title, said.detail) == ("Link Clicked", "paid: yes")


def test_an_event_of_a_mail_says_whose_it_is_and_not_its_numbers():
    of_a_mail = {"journey": "welcome", "step": "hello", "template": "w", "enrollment_id": "n", "transition": 2, "message_id": "<m>"}
    clicked = {"kind": "event", "at": AT, "name": "Email Link Clicked", "type": "track"}
    said = line(clicked | {"properties": of_a_mail | {"url": "https://acme.example/", "human": True}})
    assert said is not None
    assert said.detail == "welcome · hello, url: https://acme.example/, human: yes"


def test_an_event_without_a_name_is_called_by_its_type():
    said = line({"kind": "event", "at": AT, "name": "", "type": "identify", "properties": {}, "traits": {"plan": "team"}})
    assert said is not None
    assert (said.title, said.detail) == ("Identified", "plan: team")


@pytest.mark.parametrize("name", ["Email Sent", "Email Suppressed", "Email Failed", "Email In Doubt"])
def test_what_the_delivery_says_is_not_said_twice(name):
    assert line({"kind": "event", "at": AT, "name": name, "properties": {}}) is None


def test_a_delivery_says_its_status_reason_and_what_the_reader_did():
    delivery = {"journey": "welcome", "step": "hello", "template": "welcome-1", "delivery_kind": "email", "status": "deferred"}
    said = line({"kind": "delivery", "at": AT, **delivery, "reason": "template", "opened_at": AT, "clicked_at": None})
    assert said is not None
    assert (said.title, said.status, said.marks, said.detail) == ("welcome-1", "deferred", ("opened",), "welcome · hello: template")


def test_a_delivery_asked_for_over_the_api_says_so():
    said = line(
        {"kind": "delivery", "at": AT, "journey": "", "step": "", "template": "receipt", "delivery_kind": "email", "status": "sent"}
    )
    assert said is not None
    assert said.detail == "asked for over the API"


def test_a_confirmation_mail_says_what_it_is():
    sent = {"journey": "", "step": "confirmation", "template": "confirm", "delivery_kind": "email", "status": "sent"}
    said = line({"kind": "delivery", "at": AT, **sent})
    given = {"journey": "", "step": "confirmation", "enrollment_id": "", "address": "ana@example.com"}
    event = line({"kind": "event", "at": AT, "name": "Consent Given", "type": "track", "properties": given})
    assert said is not None
    assert event is not None
    assert (said.detail, event.detail) == ("confirmation", "confirmation, address: ana@example.com")


def test_a_skipped_step_says_why():
    step = {"journey": "welcome", "step": "hello", "step_kind": "send", "outcome": "skipped", "reason": "audience"}
    said = line({"kind": "step", "at": AT, **step})
    assert said is not None
    assert said.detail == "send: skipped (audience)"


@pytest.mark.parametrize(
    ("enrollment", "where", "story"),
    [
        ({"status": "active", "step": "pause"}, "active", "at pause"),
        ({"status": "active", "step": "pause", "holdout": True}, "active", "at pause (holdout)"),
        ({"status": "completed"}, "completed", "walked to the end"),
        ({"status": "exited", "reason": "unsubscribed"}, "exited", "ended: unsubscribed"),
        ({"status": "exited", "reason": "exit_when"}, "exited", "ended: exit when"),
        ({"status": "exited", "reason": "goal", "converted_at": AT}, "converted", "ended: goal"),
    ],
)
def test_a_walk_says_where_it_stands(enrollment, where, story):
    said = walk({"journey": "welcome", **enrollment})
    assert (said.where, said.story) == (where, story)


def test_a_walk_whose_mail_is_under_way_does_not_say_when_it_would_be_given_up():
    said = walk({"journey": "j", "status": "active", "step": "hello", "wake_at": AT, "message_under_way": True})
    assert (said.story, said.wake_at) == ("at hello, its message is on its way", None)


@pytest.mark.parametrize(("reason", "told"), [("goal", "goal"), (None, "walked to the end"), ("exit_when", "exit when")])
def test_the_timeline_says_that_a_walk_ended_and_why(reason, told):
    said = line({"kind": "step", "at": AT, "journey": "welcome", "step": "x", "step_kind": "end", "outcome": "exited", "reason": reason})
    assert said is not None
    assert (said.title, said.detail) == ("welcome ended", told)


def test_only_an_active_walk_wakes():
    assert walk({"journey": "j", "status": "exited", "wake_at": AT}).wake_at is None
    assert walk({"journey": "j", "status": "active", "wake_at": AT}).wake_at == AT


def test_an_event_from_outside_that_names_an_enrollment_is_told_like_any_other():
    told = line({"kind": "event", "at": AT, "type": "track", "name": "Bought", "properties": {"enrollment_id": 1}})
    assert told is not None
    assert told.title == "Bought"
    assert "enrollment_id" in told.detail
