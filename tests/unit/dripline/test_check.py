"""`check` across the parts of a playbook: names that one part uses and another must know, keys and files that nobody reads."""

from pathlib import Path

import pytest

from dripline.check import check
from dripline.environment import playbook_environment
from shared.playbooks import Playbook, playbook_of, read_folder

STARTER = read_folder(Path(__file__).parents[3] / "playbooks" / "starter")


def troubles(book: Playbook) -> list[str]:
    return [str(trouble) for trouble in check(book, playbook_environment())]


def edited(name: str, old: str, new: str) -> Playbook:
    text = STARTER.files[name].decode()
    assert old in text
    return playbook_of(dict(STARTER.files) | {name: text.replace(old, new).encode()})


def place(book: Playbook, name: str, words: str) -> str:
    """Where these words stand: `file:line:column`."""
    before = book.files[name].decode().partition(words)[0]
    return f"{name}:{before.count(chr(10)) + 1}:{len(before) - before.rfind(chr(10))}"


def test_the_starter_playbook_has_no_mistakes():
    assert troubles(STARTER) == []


def test_a_template_that_is_not_there_is_named_where_it_is_used():
    book = edited("journeys/welcome.yaml", "send: welcome-1", "send: welcom-1")
    where = place(book, "journeys/welcome.yaml", "welcom-1")
    assert troubles(book) == [
        f"{where}: there is no template `welcom-1`, did you mean `welcome-1`? If not, add it as templates/welcom-1.html"
    ]


def test_an_endpoint_that_is_not_there_is_named_where_it_is_used():
    book = edited("journeys/sales-handoff.yaml", "handoff: sales", "handoff: salse")
    where = place(book, "journeys/sales-handoff.yaml", "salse")
    assert troubles(book) == [
        f"{where}: there is no endpoint `salse`, did you mean `sales`? If not, add it to `endpoints` in playbook.yaml"
    ]


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://crm.example/hot", "only https leaves the house"),
        ("http://127.0.0.1:9000/demo/salesman", "only https leaves the house"),
        ("https://localhost:9000/hot", "localhost is this machine"),
        ("https://10.1.2.3/hot", "10.1.2.3 is not a public address"),
        ("https://[::1]/hot", "::1 is not a public address"),
    ],
)
def test_an_endpoint_to_which_nothing_would_be_posted_is_named(url: str, why: str):
    environ = playbook_environment() | {"SALES_WEBHOOK_URL": url}
    found = [str(trouble) for trouble in check(STARTER, environ)]
    assert found[0].startswith(place(STARTER, "playbook.yaml", '"${SALES_WEBHOOK_URL}"') + f": {why}: write https://")
    assert check(STARTER, environ | {"DRIPLINE_ALLOW_PRIVATE_WEBHOOKS": "true"}) == []
    assert check(STARTER, environ | {"SALES_WEBHOOK_URL": "https://crm.example/hot"}) == []


def test_a_topic_that_is_not_there_is_named_where_it_is_used():
    book = edited("journeys/welcome.yaml", "topic: letters", "topic: offers")
    where = place(book, "journeys/welcome.yaml", "offers")
    assert troubles(book) == [f"{where}: there is no topic `offers`; add it to `topics` in playbook.yaml"]


@pytest.mark.parametrize(
    "broken",
    [
        {"journeys/nurture.yaml": b"journey: nurture\nsteps: 7\n"},
        {"readiness.yaml": b"hot: none\n"},
        {"templates/welcome-1.html": b"{% if %}"},
        {"playbook.yaml": STARTER.files["playbook.yaml"].replace(b"late_after: 1d", b"late_after: soon")},
        {"playbook.yaml": STARTER.files["playbook.yaml"].replace(b"${SALES_WEBHOOK_URL}", b"nowhere")},
    ],
)
def test_names_that_are_not_there_are_told_while_another_part_cannot_be_read(broken: dict[str, bytes]):
    walk = b"journey: new\ntopic: lettrs\ntrigger: {event: Seen}\nsteps:\n  - {send: welcom-1}\n  - {handoff: salse}\n"
    found = troubles(playbook_of(dict(STARTER.files) | broken | {"journeys/new.yaml": walk}))
    assert [text for text in found if text.startswith("journeys/new.yaml")] == [
        "journeys/new.yaml:2:8: there is no topic `lettrs`, did you mean `letters`? If not, add it to `topics` in playbook.yaml",
        "journeys/new.yaml:5:12: there is no template `welcom-1`, did you mean `welcome-1`? If not, add it as templates/welcom-1.html",
        "journeys/new.yaml:6:15: there is no endpoint `salse`, did you mean `sales`? If not, add it to `endpoints` in playbook.yaml",
    ]
    assert {text.partition(":")[0] for text in found} == {"journeys/new.yaml", *broken}


def test_no_name_is_called_missing_where_the_part_that_would_know_it_cannot_be_read():
    found = troubles(playbook_of(dict(STARTER.files) | {"playbook.yaml": b"name: [\n"}))
    assert {text.partition(":")[0] for text in found} == {"playbook.yaml"}


def test_a_key_that_no_part_knows_is_named_with_what_was_meant():
    book = edited("playbook.yaml", "late_after: 1d", "late_afer: 1d")
    assert troubles(book) == [f"{place(book, 'playbook.yaml', 'late_afer')}: unknown key `late_afer`, did you mean `late_after`?"]


@pytest.mark.parametrize("key", ["1: x", "on: x", "null: x", "[a]: x", "1.5: x"])
def test_a_key_of_any_kind_is_a_mistake_and_no_crash(key: str):
    assert len(troubles(edited("playbook.yaml", "late_after: 1d", key))) == 1


@pytest.mark.parametrize("content", ["", "- a list", "just text", "{", "\t", "name: [", "&a x: *a", "\x00"])
def test_a_playbook_of_any_text_is_a_mistake_and_no_crash(content: str):
    assert troubles(playbook_of(dict(STARTER.files) | {"playbook.yaml": content.encode()}))


def test_a_file_that_nothing_reads_is_a_mistake():
    found = troubles(playbook_of(dict(STARTER.files) | {"redinees.yaml": b"hot: 9\n", "journey/welcome.yaml": b"", "mails/a.html": b""}))
    rooms = "a playbook has journeys/, templates/, tests/"
    assert found == [
        f"journey/welcome.yaml:1:1: nothing reads this folder, did you mean `journeys/`? If not, {rooms}",
        f"mails/a.html:1:1: nothing reads this folder; {rooms}",
        "redinees.yaml:1:1: nothing reads this file, did you mean `readiness.yaml`? If not, journeys lie in journeys/",
    ]


def test_the_mistakes_of_every_part_are_told_together_in_order():
    book = edited("playbook.yaml", "orders: {event", "orders: {evnt")
    files = dict(book.files) | {"templates/welcome-1.html": b"{% if %}", "journeys/welcome.yaml": b"journey: welcome\nsteps: 7\n"}
    found = [text.split(":")[0] for text in troubles(playbook_of(files))]
    assert found == sorted(found)
    assert set(found) == {"playbook.yaml", "templates/welcome-1.html", "journeys/welcome.yaml"}


def test_what_the_language_has_beyond_this_release_is_named():
    found = troubles(edited("playbook.yaml", "late_after: 1d", "late_after: 1d\nevents: {A: {}}"))
    assert found
    assert "not yet" in found[0]


def test_a_value_missing_in_the_environment_is_named():
    found = [str(trouble) for trouble in check(STARTER, {})]
    assert {text.partition(": ")[2].partition(" is")[0] for text in found} == {
        "`${SHOP_URL}`",
        "`${SALES_WEBHOOK_URL}`",
        "`${SALES_WEBHOOK_SECRET}`",
    }


@pytest.mark.parametrize(("trait", "circle"), [("employees", True), ("favourite", False)])
def test_journeys_whose_updates_swing_the_readiness_to_and_fro_are_a_circle(trait: str, circle: bool):
    swing = "journey: {0}\ntrigger: {{readiness: {{{1}}}}}\nreentry: always\nsteps: [{{update: {{traits: {{{2}: {3}}}}}}}]\n"
    files = {
        f"journeys/{name}.yaml": swing.format(name, crossing, trait, value).encode()
        for name, crossing, value in (("grows", "falls_to: 4", 60), ("shrinks", "rises_to: 5", 5))
    }
    found = troubles(playbook_of(dict(STARTER.files) | files))
    assert [line.partition(": what")[0] for line in found] == (["journeys/grows.yaml:2:1: a circle without a wait"] if circle else [])


@pytest.mark.parametrize("written", [True, False])
def test_working_hours_that_are_counted_must_be_written(written: bool):
    walk = b"journey: call\ntrigger: {event: Seen}\nsteps:\n  - {handoff: sales, sla: {within: 4h, hours: working}}\n"
    lines = STARTER.files["playbook.yaml"].decode().splitlines()
    settings = "\n".join(line for line in lines if written or not line.startswith("working_hours:"))
    others = {name: text for name, text in STARTER.files.items() if name != "journeys/sales-handoff.yaml"}
    found = troubles(playbook_of(others | {"playbook.yaml": settings.encode(), "journeys/call.yaml": walk}))
    expected = "journeys/call.yaml:4:27: `hours: working` counts `working_hours`: write them into playbook.yaml"
    assert found == ([] if written else [expected])
