"""Every mistake in a journey file is told with its place and its remedy, all at once."""

import pytest

from services.journeys.definitions import AfterEvent, Always
from services.journeys.loader import Journeys, load
from services.journeys.steps import BranchStep, ExitStep, HandoffStep, SendStep, WaitStep
from shared.expressions import Expression
from shared.yaml import PlaybookError

WHOLE = """\
journey: whole
description: All that this release knows.
status: paused
category: transactional
topic: offers
priority: 30
trigger:
  - {event: [Cart Updated, Checkout Started], key: event.properties.cart, where: "event.properties.value >= 20"}
  - readiness: {rises_to: 9}
audience: not lead.traits.ticket
reentry: {after_event: Order Completed}
gap: 1d
on_repeat: reset_timer
exit_when:
  - {event: Cart Emptied, match_key: event.properties.cart}
  - {when: "days_since(entered_at) > 20 and lead.events['Demo Booked'].count == 0"}
goal: {event: Order Completed, match_key: event.properties.cart, within: 7d, exit: false}
holdout: 12.5%
max_duration: 30d
on_publish: pin
backfill: false
steps:
  - {id: first, send: cart-1, max_age: 12h, if_unreachable: exit, category: marketing}
  - wait: 1d12h
  - branch:
      - {if: "steps.first.event.name == 'Email Sent'", do: [{send: cart-2}, {id: call, handoff: sales, note: "='cart ' + key"}]}
      - {else: [{exit: gave_up}]}
  - {handoff: sales, note: plain}
"""


def loaded(text: str, file: str = "journeys/x.yaml", **more: str) -> Journeys:
    return load({file: text.encode()} | {name: content.encode() for name, content in more.items()}, {})


def troubles(text: str, file: str = "journeys/x.yaml") -> list[str]:
    with pytest.raises(PlaybookError) as caught:
        loaded(text, file)
    return [str(trouble) for trouble in caught.value.troubles]


def a_file(steps: str = "[{exit: done}]", trigger: str = "{event: Seen}", **keys: str) -> str:
    more = "".join(f"{key}: {value}\n" for key, value in keys.items())
    return f"journey: x\ntrigger: {trigger}\n{more}steps: {steps}\n"


def test_a_journey_is_read_whole():
    journey = loaded(WHOLE, "journeys/whole.yaml").by_name["whole"]
    assert (journey.status, journey.category, journey.topic, journey.priority) == ("paused", "transactional", "offers", 30)
    assert (journey.reentry, journey.on_repeat, journey.holdout, journey.hourly) == (
        AfterEvent("Order Completed"),
        "reset_timer",
        0.125,
        True,
    )
    assert journey.goal is not None
    assert (journey.goal.within.days, journey.goal.exit) == (7, False)
    assert [trigger.events for trigger in journey.triggers] == [{"Cart Updated", "Checkout Started"}, {"Readiness Changed"}]


def test_steps_are_laid_flat_and_named_by_id_or_path():
    journey = loaded(WHOLE, "journeys/whole.yaml").by_name["whole"]
    branch = journey.steps["steps.2"]
    assert isinstance(branch, BranchStep)
    assert [(arm.label, arm.to) for arm in branch.arms] == [("1", "steps.2.branch.0.do.0"), ("else", "steps.2.branch.1.else.0")]
    onward = [(name, type(step), None if isinstance(step, ExitStep) else step.next) for name, step in journey.steps.items()]
    assert onward == [
        ("first", SendStep, "steps.1"),
        ("steps.1", WaitStep, "steps.2"),
        ("steps.2", BranchStep, "steps.3"),
        ("steps.2.branch.0.do.0", SendStep, "call"),
        ("call", HandoffStep, "steps.3"),
        ("steps.2.branch.1.else.0", ExitStep, None),
        ("steps.3", HandoffStep, None),
    ]


def test_a_note_is_literal_unless_it_begins_with_an_equals_sign():
    steps = loaded(WHOLE, "journeys/whole.yaml").by_name["whole"].steps
    computed, plain = steps["call"], steps["steps.3"]
    assert isinstance(computed, HandoffStep)
    assert isinstance(plain, HandoffStep)
    assert isinstance(computed.note, Expression)
    assert computed.note({"key": "c1"}) == "cart c1"
    assert plain.note == "plain"


def test_what_the_other_parts_must_know_is_mentioned_with_its_place():
    journeys = loaded(WHOLE, "journeys/whole.yaml")
    assert [(mention.name, mention.line) for mention in journeys.templates] == [("cart-1", 23), ("cart-2", 26)]
    assert [(mention.name, mention.line) for mention in journeys.endpoints] == [("sales", 26), ("sales", 28)]
    assert [(mention.name, mention.line) for mention in journeys.topics] == [("offers", 5)]
    assert {mention.name for mention in journeys.events} == {"Cart Updated", "Checkout Started", "Cart Emptied", "Order Completed"}
    assert str(journeys.templates[0].trouble("no such template")) == "journeys/whole.yaml:23:23: no such template"


def test_the_events_to_watch_and_the_histories_to_keep_are_known():
    journeys = loaded(WHOLE, "journeys/whole.yaml")
    assert journeys.watched == {"Cart Emptied", "Order Completed"}
    assert journeys.histories == {"Demo Booked", "Order Completed"}


def test_a_marketing_journey_watches_what_ends_it_by_itself():
    assert loaded(a_file()).watched == {"Unsubscribed", "Email Bounced", "Email Marked as Spam"}


def test_journeys_are_found_by_the_event_that_begins_them_the_most_urgent_first():
    files = {
        f"journeys/{name}.yaml": a_file(priority=priority).replace("journey: x", f"journey: {name}").encode()
        for name, priority in [("a", "9"), ("b", "1")]
    }
    assert [journey.name for journey in load(files, {}).by_event["Seen"]] == ["b", "a"]


def test_defaults_are_those_of_the_playbook():
    journey = loaded(a_file(goal="{event: Bought}")).by_name["x"]
    assert (journey.status, journey.category, journey.priority, journey.on_repeat) == ("live", "marketing", 100, "ignore")
    assert journey.goal is not None
    assert (journey.goal.within.days, journey.goal.exit) == (30, True)
    assert isinstance(loaded(a_file(reentry="always")).by_name["x"].reentry, Always)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (a_file(staus="live"), "3:1: unknown key `staus`, did you mean `status`?"),
        (a_file(status="liv"), "3:9: expected one of `live`, `draft`, `paused`, `draining`, got the text `liv`, did you mean `live`?"),
        (a_file(holdout="10"), "3:10: write a percentage between 0% and 100%, such as 10%"),
        (a_file(holdout="110%"), "3:10: write a percentage between 0% and 100%, such as 10%"),
        (a_file(gap="0s"), "3:6: this must last some time: write a duration such as 1h"),
        (a_file(gap="soon"), "3:6: `soon` is not a duration: write numbers with units"),
        (a_file(audience="led.hot"), "3:11: unknown name `led`"),
        (a_file(audience='"lead.hot and led.tags"'), "3:25: unknown name `led`"),
        (a_file(audience="event.name"), "3:11: unknown name `event`"),
        (a_file(trigger="{event: Seen, where: entry.at}"), "2:31: unknown name `entry`"),
        (a_file(trigger="{}"), "2:10: write what starts the journey: one of `event: NAME`"),
        (a_file(trigger="{readiness: {}}"), "2:22: write either `rises_to: 9` or `falls_to: 3`; a list of triggers may have both"),
        (a_file(trigger="{readiness: {rises_to: 11}}"), "2:33: should be less than or equal to 10, got the number `11`"),
        (a_file(trigger="{event: []}"), "2:18: nothing stands here: write at least one, or leave the key out"),
        (
            a_file(exit_when="{event: A, match_key: event.properties.cart}"),
            "3:23: there is no key to compare with: give the trigger a `key`, or remove the `match_key`",
        ),
        (a_file("[]"), "3:8: nothing stands here: write at least one, or leave the key out"),
        (a_file("[{wiat: 1d}]"), "3:9: this is no step, did you mean `wait`?"),
        (a_file("[hello]"), "3:9: a step is written as keys and values, such as `wait: 1d`"),
        (a_file("[{wait: 0s}]"), "3:16: this must last some time: write a duration such as 1h"),
        (a_file("[{send: a, max_ag: 1d}]"), "3:19: unknown key `max_ag`, did you mean `max_age`?"),
        (a_file("[{id: Hello, wait: 1d}]"), "3:14: `Hello` cannot be an id: write a small letter, then"),
        (a_file("[{id: a, wait: 1d}, {id: a, wait: 2d}]"), "3:33: the id `a` stands twice, first on line 3: give one of the steps another"),
        (a_file("[{exit: done}, {wait: 1d}]"), "3:23: no walk comes here: the step before it is an `exit`; remove one of the two"),
        (a_file("[{branch: [{else: [{exit: a}]}, {if: lead.hot, do: [{exit: b}]}]}]"), "3:40: no walk comes here: `else` takes"),
        (a_file("[{branch: [{if: lead.hot, do: []}]}]"), "3:38: nothing stands here: write at least one, or leave the key out"),
        (a_file("[{branch: [{if: lead.hott, do: [{exit: a}]}]}]"), "3:29: `lead` has no `hott`"),
        (
            a_file("[{id: first, wait: 1d}, {branch: [{if: steps.frist.at, do: [{exit: a}]}]}]"),
            "3:47: no step has the id `frist`, did you mean `first`?",
        ),
        (a_file("[{wait: 1d}, {branch: [{if: steps.first.at, do: [{exit: a}]}]}]"), "3:36: no step has the id `first`: write `id: first`"),
        (a_file('[{handoff: sales, note: "=lead.emial"}]'), "3:39: `lead` has no `emial`"),
    ],
)
def test_a_mistake_is_told_with_its_place_and_its_remedy(text, expected):
    (trouble,) = troubles(text)
    assert trouble.startswith(f"journeys/x.yaml:{expected}")


@pytest.mark.parametrize(
    ("text", "place", "what"),
    [
        (a_file("[{split: []}]"), "3:9", "`split`"),
        (a_file("[{send: a, from: me}]"), "3:25", "`from`"),
        (a_file("[{send: a, channel: sms}]"), "3:28", "`channel`"),
        (a_file(trigger="{segment: {enters: lead.hot}}"), "2:20", "`segment`"),
        (a_file(on_publish="migrate"), "3:13", "`migrate`"),
        (a_file(backfill="true"), "3:11", "publishing"),
    ],
)
def test_what_the_language_has_beyond_this_release_is_named(text, place, what):
    found = [trouble for trouble in troubles(text) if "not yet:" in trouble]
    assert len(found) == 1
    assert found[0].startswith(f"journeys/x.yaml:{place}: not yet: ")
    assert what in found[0]


@pytest.mark.parametrize("kind", ["repeat", "emit", "readiness", "webhook", "unsubscribe", "enroll", "unenroll"])
def test_every_later_kind_of_step_is_named(kind):
    assert troubles(a_file(f"[{{{kind}: x}}]")) == [f"journeys/x.yaml:3:9: not yet: `{kind}` steps are not in this release"]


def test_all_mistakes_of_all_files_are_told_at_once():
    files = {
        "journeys/a.yaml": a_file("[{wiat: 1d}]", gap="soon").replace("journey: x", "journey: a"),
        "journeys/b.yaml": a_file(audience="led.hot"),
    }
    with pytest.raises(PlaybookError) as caught:
        load({name: text.encode() for name, text in files.items()}, {})
    assert [(trouble.file, trouble.line) for trouble in caught.value.troubles] == [
        ("journeys/a.yaml", 3),
        ("journeys/a.yaml", 4),
        ("journeys/b.yaml", 1),
        ("journeys/b.yaml", 3),
    ]


def test_a_file_bears_its_journeys_name():
    (trouble,) = troubles(a_file(), "journeys/y.yaml")
    assert trouble == "journeys/y.yaml:1:10: the journey is called `x` and its file `y.yaml`: write `journey: y`, or rename the file"


@pytest.mark.parametrize("file", ["journeys/x.yml", "journeys/old/x.yaml"])
def test_a_journey_lies_in_its_folder_by_its_name(file):
    (trouble,) = troubles(a_file(), file)
    assert trouble == f"{file}:1:1: journeys lie in journeys/NAME.yaml: rename the file to journeys/x.yaml"


def test_other_files_are_not_journeys():
    assert loaded("hello", "templates/x.html").by_name == {}


@pytest.mark.parametrize(
    ("keys", "circle"),
    [
        ({"reentry": "always"}, True),
        ({"reentry": "once"}, False),
        ({"reentry": "{after: 1d}"}, False),
        ({"reentry": "always", "gap": "1d"}, False),
    ],
)
def test_a_journey_whose_own_mail_begins_it_again_is_a_circle(keys, circle):
    text = a_file("[{branch: [{if: lead.hot, do: [{send: a}]}]}]", "{event: Email Sent}", **keys)
    if circle:
        assert troubles(text) == [
            "journeys/x.yaml:2:1: a circle without a wait: what `x` makes happen begins it again at once; "
            "put a wait of an hour before that step, or a `where` here"
        ]
    else:
        assert loaded(text).by_name


@pytest.mark.parametrize(
    ("steps", "trigger"), [("[{wait: 1h}, {send: a}]", "{event: Email Sent}"), ("[{send: a}]", "{event: Email Sent, where: lead.hot}")]
)
def test_a_wait_or_a_condition_makes_no_circle(steps, trigger):
    assert loaded(a_file(steps, trigger, reentry="always")).by_name
