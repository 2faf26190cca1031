import json
from datetime import timedelta
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import Discriminator, Field, Tag, field_validator
from yaml import SafeLoader

from shared.yaml import Document, Duration, PlaybookError, Shape, read, read_all, shape


def plain(text: str) -> Any:
    return read(text.encode(), "f.yaml").value


def troubles(text: str | bytes) -> list[str]:
    with pytest.raises(PlaybookError) as caught:
        read(text.encode() if isinstance(text, str) else text, "f.yaml")
    return str(caught.value).splitlines()


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("12:30", "12:30"),
        ("on", "on"),
        ("no", "no"),
        ("yes", "yes"),
        ("1_000", "1_000"),
        ("2027-03-01", "2027-03-01"),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("-12", -12),
        ("012", 12),
        ("0x1F", 31),
        ("0o17", 15),
        ("1.5", 1.5),
        (".5e1", 5.0),
        ("1e3", 1000.0),
        ("'12'", "12"),
        ('"true"', "true"),
        ("|\n  a\n  b\n", "a\nb\n"),
        ("[1, {a: b}]", [1, {"a": "b"}]),
        ("=", "="),
    ],
)
def test_scalars_are_read_as_yaml_1_2_reads_them(text: str, value: Any) -> None:
    got = plain(text if text.startswith("|") else f"{text}\n")
    assert got == value
    assert type(got) is type(value)


def test_a_key_on_stays_the_text_on() -> None:
    assert plain("on: click\nno: 1\n") == {"on": "click", "no": 1}


def test_every_node_has_its_place() -> None:
    document = read("steps:\n  - {send: welcome, id: é}\n  - wait: 2d\n".encode(), "f.yaml")
    assert document.mark(("steps", 0, "id")) == (2, 25)
    assert document.mark(("steps", 0, "id"), of_key=True) == (2, 21)
    assert document.mark(("steps", 1)) == (3, 5)
    assert document.mark(("steps", 1, "timeout", "x")) == (3, 5)
    assert document.at(("steps", 1, "wait")) == "2d"


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("when: lead.x\n", "f.yaml:1:9: here"),
        ("when: 'lead.x'\n", "f.yaml:1:10: here"),
        ('{when: "lead.x"}\n', "f.yaml:1:11: here"),
        ('when: "lead\\u002ex"\n', "f.yaml:1:7: here"),
        ("when: >\n  lead.x\n", "f.yaml:1:7: here"),
    ],
)
def test_an_offset_points_into_a_text_that_stands_letter_for_letter(text: str, place: str) -> None:
    assert str(read(text.encode(), "f.yaml").trouble(("when",), "here", 2)) == place


@pytest.mark.parametrize(
    ("text", "trouble"),
    [
        ("", "1:1: the file is empty"),
        ("# only a comment\n", "1:1: the file is empty"),
        ("a: 1\nb: 2\na: 3\n", "3:1: the key `a` stands twice, first on line 1: remove one"),
        ("{a: {b: 1, b: 2}}", "1:12: the key `b` stands twice, first on line 1: remove one"),
        ("a: &x 1", "1:4: anchors are not used here: remove `&x`, or put the value in quotes"),
        ("a: *x", "1:4: aliases are not used here: write out what `*x` stands for, or put the value in quotes"),
        ("*x : 1", "1:1: aliases are not used here: write out what `*x` stands for, or put the value in quotes"),
        ("<<: {a: 1}", "1:1: merge keys are not used here: write the keys out"),
        ("if: !lead.hot", "1:5: tags are not used here: remove `!lead.hot`, or put the value in quotes; in an expression write `not`"),
        ("a: !!python/object:os.system x", "1:4: tags are not used here: remove `tag:yaml.org,2002:python/object:os.system`, or put the"),
        ("a: ! x", "1:4: tags are not used here"),
        ("%YAML 1.1\n---\na: 1", "1:1: directives"),
        ("a: 1\n---\nb: 2\n", "3:1: a second document begins here: this file holds one; remove the `---`"),
        ("1: a", '1:1: a key must be text: write "1" in quotes'),
        ("true: a", '1:1: a key must be text: write "true" in quotes'),
        ("? [a]\n: 1", "1:3: a key must be text: write a word"),
        ("subject: {{ name }}", "1:11: a key must be text: put the whole value in quotes"),
        ("a: .inf", "1:4: `.inf` is not a number one can count with: write a number, or put it in quotes"),
        ("a: .NaN", "1:4: `.NaN` is not a number one can count with"),
        ("a: 1e999", "1:4: this number is too large: put it in quotes if it is text"),
        ("a: 9223372036854775808", "1:4: this number is too large: put it in quotes if it is text"),
        ("a: " + "9" * 5000, "1:4: this number is too large"),
        ("[" * 33, "1:33: nested deeper than 32 levels"),
        ("{a: " * 3000, "1:129: nested deeper than 32 levels"),
        ('a: "x\\0y"', "1:4: the character U+0000 may not stand in a text: remove it"),
        ("a: x\x00y", "1:5: the character U+0000 may not stand in YAML: remove it"),
        (b"a: 1\nb: \xff", "2:4: this is not UTF-8: save the file as UTF-8"),
        ("a: b".encode("utf-16"), "1:1: this is not UTF-8: save the file as UTF-8"),
        ("#" * 262_145, "1:1: the file is larger than 256 KiB: split it"),
        ("a:\n\t- b", "2:1: tabs cannot indent: use spaces"),
        ("a: 'x\nb: 1\n", "1:4: the quote or bracket that opens here is never closed"),
        ("a: [1, 2\nb: 3\n", "2:2: expected `,` or `]` here; the bracket that opens on line 1, column 4 is not closed"),
        ("a: 1\n b: 2\n", "2:3: a second `: ` cannot follow here; check the indentation, or put the value in quotes"),
        ('a: "\\q"', "1:5: in double quotes `\\` begins an escape: write `\\\\`, or use single quotes"),
        ("a: @x", '1:4: a value cannot begin with `@` unless it is in quotes; if this is one value, put it in quotes: `a: "@x"`'),
    ],
)
def test_what_yaml_would_misunderstand_is_refused_with_the_remedy(text: str | bytes, trouble: str) -> None:
    assert troubles(text)[0].startswith(f"f.yaml:{trouble}")


@pytest.mark.parametrize(
    ("text", "place", "quoted"),
    [
        ("- {if: 'vip' in lead.tags}", "1:14", "if: \"'vip' in lead.tags\""),
        ("- {if: 'vip' in lead.tags, do: []}  # ours", "1:14", "if: \"'vip' in lead.tags\""),
        ("if: 'vip' in lead.tags\nb: 1\n", "1:11", "if: \"'vip' in lead.tags\""),
        ("if: 'vip' in lead.tags  # ours\n", "1:11", "if: \"'vip' in lead.tags\""),
        ('if: "vip" in lead.tags', "1:11", "if: '\"vip\" in lead.tags'"),
        ("{if: lead.events['X'].count > 0}", "1:17", "if: \"lead.events['X'].count > 0\""),
        ("{where: [1, 2] == x, if: y}", "1:16", 'where: "[1, 2] == x"'),
        ("{url: ${SALES_URL}}", "1:8", 'url: "${SALES_URL}"'),
        ("note: see: this", "1:10", 'note: "see: this"'),
        ("{if: a == 'x # y'}\nb: 1\n", "2:1", "if: \"a == 'x # y'\""),
    ],
)
def test_an_expression_that_yaml_misreads_is_answered_with_its_quoted_form(text: str, place: str, quoted: str) -> None:
    (trouble,) = troubles(text)
    assert trouble.startswith(f"f.yaml:{place}: ")
    assert trouble.endswith(f"; if this is one value, put it in quotes: `{quoted}`")
    assert plain("{" + quoted + "}")


def test_everything_wrong_is_said_at_once() -> None:
    assert [trouble.split(":")[1] for trouble in troubles("a: 1\na: 2\nb: *x\n1: 2\nc: 'x' y\n")] == ["2", "3", "4", "5"]


def test_a_file_of_tests_may_hold_several_documents() -> None:
    first, second = read_all(b"test: one\n---\ntest: two\n", "t.yaml")
    assert (first.value, second.value) == ({"test": "one"}, {"test": "two"})
    assert second.mark(("test",)) == (3, 7)


def test_a_byte_order_mark_is_no_part_of_the_text() -> None:
    assert plain("\ufeffa: 1") == {"a": 1}


def test_without_the_c_scanner_the_values_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "a: [1, {b: 'c'}, 12:30, on, ~]\nd: |\n  x\n"
    fast = plain(text)
    monkeypatch.setattr("shared.yaml._LOADER", SafeLoader)
    assert plain(text) == fast


@given(st.one_of(st.binary(max_size=80), st.text(alphabet="ab:-[]{}'\"#&*!|>%@`?, \n\t1.<~\\é\x00\ufeff", max_size=80).map(str.encode)))
@settings(max_examples=1500, deadline=None)
def test_any_bytes_are_read_or_refused_with_a_place(text: bytes) -> None:
    try:
        documents = read_all(text, "f.yaml")
    except PlaybookError as error:
        documents = []
        places = [(trouble.line, trouble.column) for trouble in error.troubles]
    else:
        places = [document.mark(()) for document in documents]
    assert places
    assert all(line >= 1 and column >= 1 for line, column in places)


TEXTS = st.text(st.characters(exclude_categories=["Cc", "Cs", "Cn"]), max_size=8)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**62), 2**62), TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXTS, inner, max_size=3)),
    max_leaves=8,
)


@given(VALUES)
@settings(max_examples=300, deadline=None)
def test_json_is_yaml(value: Any) -> None:
    assert plain(json.dumps({"value": value}, ensure_ascii=False)) == {"value": value}


# The shape of a document


class Send(Shape):
    id: str | None = None
    send: str
    max_age: Duration | None = None


class Wait(Shape):
    id: str | None = None
    wait: Duration | list[str]


class Trigger(Shape):
    event: str | list[str]
    where: str | None = None


class Falls(Shape):
    falls_to: int


class Enter(Shape):
    enter: Trigger | Falls


class Branch(Shape):
    branch: list["Case"]


class Case(Shape):
    condition: str | None = Field(default=None, alias="if")
    do: list["Step"] = Field(default_factory=list)


def kind(step: Any) -> str | None:
    return next((name for name in ("send", "wait", "enter", "branch") if isinstance(step, dict) and name in step), None)


Step = Annotated[
    Annotated[Send, Tag("send")] | Annotated[Wait, Tag("wait")] | Annotated[Enter, Tag("enter")] | Annotated[Branch, Tag("branch")],
    Discriminator(kind),
]


class Journey(Shape):
    journey: str
    priority: int = 100
    share: float = 1
    live: bool = True
    status: Literal["live", "draft"] = "live"
    trigger: Trigger | Falls | None = None
    within: Duration = timedelta(days=30)
    weights: dict[str, int] = Field(default_factory=dict)
    steps: list[Step] = Field(default_factory=list)

    @field_validator("priority")
    @classmethod
    def _positive(cls, value: int) -> int:
        if value <= 0:
            raise ValueError("must be above 0: smaller goes first")
        return value


Case.model_rebuild()
Journey.model_rebuild()


def shaped(text: str) -> list[str]:
    document = read(text.encode(), "f.yaml")
    with pytest.raises(PlaybookError) as caught:
        shape(document, Journey)
    return [str(trouble).removeprefix("f.yaml:") for trouble in caught.value.troubles]


def test_a_document_of_the_right_shape_is_a_model() -> None:
    text = b"journey: x\nwithin: 1d12h\nsteps:\n  - {send: hi}\n  - {wait: 2d}\n  - branch: [{if: x, do: [{send: yo}]}]\n"
    journey = shape(read(text, "f.yaml"), Journey)
    assert journey.within == timedelta(hours=36)
    assert isinstance(journey.steps[1], Wait)


@pytest.mark.parametrize(
    ("text", "trouble"),
    [
        ("jorney: x", "1:1: unknown key `jorney`, did you mean `journey`?"),
        ("priority: 1", "1:1: the key `journey` is missing here"),
        ("journey: x\nzzz: 1", "2:1: unknown key `zzz`; here one can write `journey`, `live`, `priority`, `share`, `status`, `steps`"),
        ("journey: 5", '1:10: expected text, got the number `5`: write "5" in quotes'),
        ("journey: true", '1:10: expected text, got `true`: write "true" in quotes'),
        ("journey:", "1:9: expected text, got nothing"),
        ("journey: [a]", "1:10: expected text, got a list"),
        ("journey: x\npriority: '5'", "2:11: expected a whole number, got the text `5`: remove the quotes"),
        ("journey: x\npriority: 1.5", "2:11: expected a whole number, got the number `1.5`"),
        ("journey: x\npriority: 0", "2:11: must be above 0: smaller goes first"),
        ("journey: x\nshare: much", "2:8: expected a number, got the text `much`"),
        ("journey: x\nlive: yes", "2:7: expected true or false, got the text `yes`: write true or false"),
        ("journey: x\nstatus: liv", "2:9: expected one of `live`, `draft`, got the text `liv`, did you mean `live`?"),
        (
            "journey: x\nwithin: 3y",
            "2:9: `3y` is not a duration: write numbers with units from large to small, such as 90s, 15m, 2h, 3d, 1w or 1d12h",
        ),
        ("journey: x\nwithin: 3", "2:9: expected a duration such as `2d`, got the number `3`"),
        ("journey: x\nweights: {a: b}", "2:14: expected a whole number, got the text `b`"),
        ("journey: x\nsteps: send", "2:8: expected a list, got the text `send`: write [send]"),
        ("- x", "1:1: expected keys and values, got a list"),
        ("journey: x\ntrigger: {event: 5}", "2:18: expected text or a list, got the number `5`"),
        ("journey: x\ntrigger: {evnt: A}", "2:11: unknown key `evnt`, did you mean `event`?"),
        ("journey: x\ntrigger: {falls_to: low}", "2:21: expected a whole number, got the text `low`"),
        ("journey: x\ntrigger: A", "2:10: expected keys and values, got the text `A`"),
        ("journey: x\nsteps:\n  - {send: hi, max_ag: 2d}", "3:16: unknown key `max_ag`, did you mean `max_age`?"),
        ("journey: x\nsteps:\n  - {wait: 2d, template: x}", "3:16: unknown key `template`; here one can write `id`, `wait`"),
        ("journey: x\nsteps:\n  - {wait: {a: 1}}", "3:12: expected a duration such as `2d` or a list, got keys and values"),
        ("journey: x\nsteps:\n  - enter: {evnt: A}", "3:13: unknown key `evnt`, did you mean `event`?"),
        ("journey: x\nsteps:\n  - enter: {falls_to: low}", "3:23: expected a whole number, got the text `low`"),
        ("journey: x\nsteps:\n  - branch: [{if: x, do: [{send: 5}]}]", "3:34: expected text, got the number `5`"),
        ("journey: x\nsteps:\n  - branch: [{if: x, do: [{send: x, sned: y}]}]", "3:37: unknown key `sned`, did you mean `send`?"),
    ],
)
def test_what_does_not_fit_is_said_in_plain_words_at_its_place(text: str, trouble: str) -> None:
    first, *more = shaped(text)
    assert first.startswith(trouble)
    assert not more


def test_a_misspelt_key_is_one_trouble_and_not_two() -> None:
    assert shaped("jorney: x") == ["1:1: unknown key `jorney`, did you mean `journey`?"]


def test_all_troubles_of_a_document_are_said_in_its_order() -> None:
    assert [trouble.split(":")[0] for trouble in shaped("journey: 1\npriority: x\nsteps:\n  - {send: 1}\n  - {wait: 1}\nzzz: 1\n")] == [
        "1",
        "2",
        "4",
        "5",
        "6",
    ]


def test_a_part_of_a_document_can_be_shaped_alone() -> None:
    document = read(b"journey: x\nsteps:\n  - {send: a}\n  - {send: b, colour: red}\n", "f.yaml")
    assert shape(document, Send, ("steps", 0)).send == "a"
    with pytest.raises(PlaybookError, match=r"^f.yaml:4:15: unknown key `colour`"):
        shape(document, Send, ("steps", 1))


# The environment


def a_playbook() -> Document:
    return read(b'name: "${BRAND}"\nendpoints:\n  sales: {url: "${URL}/in", secret: "${SECRET}"}\n', "playbook.yaml")


def test_names_are_replaced_from_the_environment() -> None:
    value = a_playbook().with_environment({"BRAND": "Acme", "URL": "https://x", "SECRET": "${URL}"}).value
    assert value == {"name": "Acme", "endpoints": {"sales": {"url": "https://x/in", "secret": "${URL}"}}}


def test_a_missing_name_is_said_with_its_place() -> None:
    with pytest.raises(PlaybookError) as caught:
        a_playbook().with_environment({"BRAND": "Acme"})
    assert str(caught.value).splitlines() == [
        "playbook.yaml:3:16: `${URL}` is not set: set URL in the environment or in .env",
        "playbook.yaml:3:37: `${SECRET}` is not set: set SECRET in the environment or in .env",
    ]


def test_a_service_needs_only_the_names_below_its_own_keys() -> None:
    document = a_playbook().with_environment({"BRAND": "Acme"}, keys=["name"])
    assert document.value["name"] == "Acme"
    assert document.value["endpoints"]["sales"]["url"] == "${URL}/in"


def test_a_message_never_shows_what_came_from_the_environment() -> None:
    class Named(Shape):
        name: list[str]
        endpoints: dict[str, Any]

    with pytest.raises(PlaybookError) as caught:
        shape(a_playbook().with_environment({"BRAND": "hush", "URL": "", "SECRET": ""}), Named)
    assert str(caught.value) == "playbook.yaml:1:7: expected a list, got the text `${BRAND}`: write [${BRAND}]"
