import ast
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from shared.expressions import Expression, ExpressionError, compile_expression
from shared.wire import Consent, Entry, EventHistory, Lead, Orders
from tests.builders import NOON, a_lead

NAMES = frozenset({"lead", "event", "entry", "steps", "key", "entered_at", "now"})


def a_scope(lead: Lead | None = None, **properties: Any) -> dict[str, Any]:
    event = {"name": "Page Viewed", "properties": properties, "context": {}, "at": NOON}
    entry = Entry(at=NOON - timedelta(days=2), event="Cart Updated", properties=properties)
    return {"lead": lead or a_lead(), "event": event, "entry": entry, "steps": {}, "key": None, "entered_at": NOON, "now": NOON}


def value(source: str, scope: dict[str, Any] | None = None, **properties: Any) -> Any:
    return compile_expression(source, NAMES)(scope or a_scope(**properties))


def trouble(source: str, names: frozenset[str] = NAMES) -> str:
    with pytest.raises(ExpressionError) as caught:
        compile_expression(source, names)
    return f"{caught.value.offset}: {caught.value.message}"


ANA = a_lead(
    readiness=9,
    traits={"country": "DE", "employees": "120", "name": "Ana", "trial_ends": "2027-03-05T12:00:00+00:00", "is": 1},
    tags=["vip", "webinar"],
    consent=Consent(marketing=True, topics={"offers": False}),
    orders=Orders(count=2, total=80.5, last_at=NOON - timedelta(days=10)),
    events={
        "Webinar Attended": EventHistory(
            count=4,
            first_at=NOON - timedelta(days=90),
            last_at=NOON,
            last={"title": "Tea"},
            days={"2027-03-01": 1, "2027-02-27": 2, "2026-12-01": 1},
        )
    },
)


@pytest.mark.parametrize(
    "source",
    [
        "lead.readiness >= 8 and lead.traits.country == 'DE' and 'webinar' in lead.tags",
        "lead.traits.employees > 50",  # numeric text beside a number
        "lead.traits.employees == 120.0",
        "lead.traits.trial_ends > now",  # ISO text beside a moment
        "lead.traits.trial_ends - days(4) == now",
        "lead.traits.trial_ends - now == days(4)",
        "now + days(1) > now and days(1) + now == now + hours(24)",
        "days(2) - days(1) == hours(24) and -days(1) < days(0)",
        "lead.created_at >= '2027-01-01'",
        "lead['traits']['is'] == 1 and lead['tags'][0] == 'vip' and lead.tags[-1] == 'webinar'",
        "lead.consent.marketing and lead.consent.topics.offers == false",
        "lead.orders.count == 2 and lead.orders.total > 80 and days_since(lead.orders.last_at) == 10",
        "lead.events['Webinar Attended'].count == 4 and lead.events['Webinar Attended'].last.title == 'Tea'",
        "hours_since(lead.events['Webinar Attended'].last_at) == 0",
        "lead.events['Webinar Attended'].count_within('30d') == 3",
        "lead.events['Webinar Attended'].count_within('1d') == 1",
        "entry.event == 'Cart Updated' and days_since(entry.at) == 2",
        "lead.traits.name.lower() == 'ana' and upper(lead.traits.name) == 'ANA' and lower('É') == 'é'",
        "' x '.strip() == 'x' and 'abc'.startswith('a') and 'abc'.endswith(('x', 'c')) and not 'abc'.startswith('b')",
        "len(lead.tags) == 2 and len('abc') == 3 and round(2.567, 1) == 2.6 and round(7.6) == 8",
        "min(3, 1, 2) == 1 and max([3, 1, 2]) == 3 and max('a', 'b') == 'b' and min(now, entered_at) == now",
        "1 < 2 < 3 and not 1 < 3 < 2 and 1 + 2 * 3 == 7 and (1 + 2) * 3 == 9 and -2 + 3 == 1 and 7 % 4 == 3 and 1 / 4 == 0.25",
        "'a' + 'b' == 'ab' and 'b' in 'abc' and 'x' not in ['a', 'b'] and 2 in (1, 2) and '2' in [1, 2]",
        "(1 if lead.hot else 2) == 2",
        "not false and (none or true) and None == none and True == true",
        "[1, 'a'] == (1, 'a')",
        "'10' == 10 and '9' < 10 and '2027-03-01T12:00:00Z' == now and '2027-03-01' < now",
    ],
)
def test_it_holds(source: str) -> None:
    assert value(source, a_scope(ANA)) is True


@pytest.mark.parametrize(
    ("source", "result"),
    [
        ("lead.traits.missing", None),
        ("lead.traits.missing.deeper.still", None),
        ("lead.traits.missing == none", True),
        ("lead.traits.missing == 0", False),
        ("lead.traits.missing == ''", False),
        ("lead.traits.missing == false", False),
        ("lead.traits.missing != 'DE'", True),
        ("lead.traits.missing < 3", None),
        ("3 <= lead.traits.missing", None),
        ("lead.traits.missing >= none", None),
        ("1 < lead.traits.missing < 3", None),
        ("'x' in lead.traits.missing", None),
        ("lead.traits.missing in ['x']", None),
        ("'x' not in lead.traits.missing", True),
        ("lead.traits.missing + 1", None),
        ("1 - lead.traits.missing", None),
        ("-lead.traits.missing", None),
        ("lead.traits.missing.startswith('a')", None),
        ("'a'.startswith(lead.traits.missing)", None),
        ("lead.traits.missing.lower()", None),
        ("lead.traits.missing[0]", None),
        ("lead.tags[99]", None),
        ("len(lead.traits.missing)", None),
        ("round(lead.traits.missing)", None),
        ("max(1, lead.traits.missing)", None),
        ("min([])", None),
        ("days_since(lead.traits.missing)", None),
        ("days(lead.traits.missing)", None),
        ("now + lead.traits.missing", None),
        ("not lead.traits.missing", True),
        ("lead.traits.missing or 'friend'", "friend"),
        ("lead.events['Never Done'].count", 0),
        ("lead.events['Never Done'].count_within('30d')", 0),
        ("lead.events['Never Done'].last_at", None),
        ("lead.events['Never Done'].last.title", None),
        ("lead.orders.count", 0),
        ("lead.orders.total", 0),
        ("steps.survey", None),
        ("steps.survey.response.answer", None),
        ("key", None),
    ],
)
def test_what_is_missing_is_none(source: str, result: Any) -> None:
    assert value(source) == result
    assert (value(source) is None) == (result is None)


@pytest.mark.parametrize(
    "source",
    [
        "lead.id * 3",
        "3 * lead.id",
        "lead.id % 3",
        "lead.id - 'x'",
        "lead.id + 3",
        "lead.id / 2",
        "lead.tags + lead.tags",
        "lead.tags * 3",
        "lead.id < 3",
        "lead.tags < lead.tags",
        "now < 3",
        "now < 'soon'",
        "now + 1",
        "now + now",
        "now * 2",
        "1 / 0",
        "1 % 0",
        "1.5 % 0.0",
        "9e300 * 9e300",
        "9000000000000000000 * 9000000000000000000",
        "now + days(99999999999)",
        "days(1e300)",
        "days_since('yesterday')",
        "round('x')",
        "round(1, 99)",
        "round(1, 'x')",
        "5 in 'abc5'",
        "5 in 5",
        "5 in event.properties",
        "lead.tags.lower()",
        "lead.id[event.name]",
        "lead.tags[1.0]",
        "lead.tags[true]",
        "max(1, 'a')",
        "len(5)",
        "event.properties.missing.x.y",
        "-lead.id",
        "-days(999999999.9)",
        "'a'.startswith([1])",
    ],
)
def test_what_does_not_go_together_is_none(source: str) -> None:
    assert value(source) is None


def test_texts_cannot_grow_beyond_their_limit() -> None:
    scope = a_scope(text="x" * 40_000)
    assert value("event.properties.text + 'y'", scope) == "x" * 40_000 + "y"
    assert value("event.properties.text + event.properties.text", scope) is None


def test_an_attribute_of_a_list_is_the_list_of_its_elements_attributes() -> None:
    scope = a_scope(products=[{"category": "tea", "price": 3}, {"category": "cups"}, 5])
    assert value("'tea' in event.properties.products.category", scope) is True
    assert value("event.properties.products.category", scope) == ["tea", "cups", None]
    assert value("event.properties.products['price'][0]", scope) == 3


@pytest.mark.parametrize(
    ("source", "python"),
    [
        ("1 + 2 * 3 - 4 / 2 % 3", None),
        ("not 1 == 2 and 3 > 2 or false", "not 1 == 2 and 3 > 2 or False"),
        ("1 < 2 == 2 != 3", None),
        ("-2 * -3 + 1", None),
        ("1 if 0 else 2 if 0 else 3", None),
        ("not 1 in [2] and 2 in [2]", None),
        ("2 - 3 - 4", None),
        ("0 or 1 and 0", None),
    ],
)
def test_precedence_is_pythons(source: str, python: str | None) -> None:
    assert value(source) == ast.literal_eval(repr(eval(python or source)))


def test_a_chain_computes_its_middle_once_and_stops_at_the_first_that_fails() -> None:
    assert value("1 < lead.readiness < 5 < 3") is False
    assert value("0 < lead.readiness <= 1 < 2") is True


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("event.properties.class == 3", "17: `class` cannot follow a dot: write event.properties['class']"),
        ("lead.traits.is", "12: `is` cannot follow a dot: write lead.traits['is']"),
        ("lead.traits.2fa", "12: `2fa` cannot follow a dot: write lead.traits['2fa']"),
        ("led.traits.x", "0: unknown name `led`, did you mean `lead`?"),
        ("lead.redines > 3", "5: `lead` has no `redines` here, did you mean `lead.readiness`?"),
        ("readiness > 3", "0: unknown name `readiness`, did you mean `lead.readiness`?"),
        ("lead.marketing", "5: `lead` has no `marketing` here, did you mean `lead.consent.marketing`?"),
        ("entry.proprties.x", "6: `entry` has no `proprties` here, did you mean `entry.properties`?"),
        ("lead.email.domain", "11: `lead.email` is a plain value, it has no `domain`"),
        ("lead.traits.first-name == 'x'", "18: `-` is minus here; if the name is `first-name`, write lead.traits['first-name']"),
        ("lead.traits.x = 3", "14: `=` does not compare: write `==`"),
        ("x := 3", "2: nothing can be assigned here: write `==` to compare"),
        ("lead.id === 'x'", "8: `===` is not known here: write `==` or `!=`"),
        ("lead.hot && true", "9: `&&` is not known here: write `and`"),
        ("lead.hot || true", "9: `||` is not known here: write `or`"),
        ("!lead.hot", "0: `!` is not known here: write `not`"),
        ("lead.hot ? 1 : 2", "9: `?` is not known here: write `x if condition else y`"),
        ("${NAME}", "0: `${NAME}` is replaced in playbook.yaml only: write a name without `$`"),
        ("lead.hot # always", "9: `#` is not known here: remove the comment"),
        ("lead.id == 'a #b", "11: the text that begins here has no end; in YAML put an expression that holds ` #` or `: ` in quotes"),
        ("null == lead.id", "0: `null` is not known here: write `none`, or 'null' in quotes if it is text"),
        ("lead.traits.x is none", "17: `is` is not part of the language: write `==` or `!=`"),
        ("lower", "0: `lower` is a function: write `lower(…)`"),
        ("lower()", "0: `lower` takes 1 value, here: 0"),
        ("startswith(lead.id)", "0: there is no function `startswith`: write `x.startswith(…)`"),
        ("day_since(now)", "0: there is no function `day_since`, did you mean `days_since`?"),
        ("lead.id.startwith('a')", "0: there is no method `startwith`, did you mean `startswith`?"),
        ("lead.id.lower('a')", "0: `lower` takes nothing in its brackets, here: 1"),
        ("round(1, digits=2)", "0: `digits=` is not part of the language: write the value alone"),
        ("lead.events['Webinar'] > 3", "12: say what of it: `lead.events['Webinar'].count > 0`, or `first_at`, `last`, `last_at`"),
        ("lead.events[event.name].count", "18: write the name in quotes: `lead.events['…']`"),
        ("lead.events.X.count_within(30)", "27: write the time as text, such as '30d'"),
        ("lead.consent", "5: say what of `lead.consent`: it has `marketing`, `topics`"),
        ("lambda: 1", "0: a lambda is not part of the language"),
        ("f'{lead.id}'", "0: an f'…' text is not part of the language"),
        ("{'a': 1}", "0: a {…} literal is not part of the language"),
        ("lead.tags[0:2]", "10: a slice is not part of the language"),
        ("2 ** 3", "0: the operator in `2 ** 3` is not part of the language"),
        ("'%s' % 3", "0: `%` and `*` are for numbers: put text together with `+`"),
        ("'é' == led.x", "7: unknown name `led`, did you mean `lead`?"),
        ("  led.x", "2: unknown name `led`, did you mean `lead`?"),
        ("", "0: the expression is empty"),
    ],
)
def test_a_mistake_is_named_with_its_place_and_the_remedy(source: str, message: str) -> None:
    assert trouble(source) == message


@pytest.mark.parametrize(
    "source",
    [
        "open('x')",
        "lead.__class__",
        "lead.traits.__class__.__mro__",
        "().__class__",
        "''.format(lead)",
        "eval('1')",
        "__import__('os')",
        "[x for x in lead.tags]",
        "(lambda: 1)()",
        "[].append(1)",
        "print",
        "lead.events.X.count_within('3 days')",
        "99999999999999999999",
        "1e999",
        "1j",
        "b'x'",
        "...",
        "'\\ud800'",
        "\ud800",
        "a\x00b",
        "lead.hot; lead.hot",
        "lead.hot)",
        "(" * 300,
        "-" * 1900 + "1",
        "1+" * 100 + "1",
        "x" * 2001,
        "9" * 1999,
        "yield 1",
        "await lead",
        "*lead.tags",
        "not",
    ],
)
def test_what_is_not_of_the_language_is_refused(source: str) -> None:
    assert trouble(source)


def test_only_names_that_exist_where_it_stands_can_be_used() -> None:
    only_event = frozenset({"event"})
    assert "unknown name `lead`" in trouble("lead.traits.x", only_event)
    assert "`days_since` speaks of the present time" in trouble("days_since(event.at) > 3", only_event)
    assert compile_expression("event.properties.paid", only_event).truth(a_scope(paid=True))


def test_a_dotted_name_allows_that_part_alone() -> None:
    fit = frozenset({"lead.traits", "lead.tags", "lead.consent"})
    assert compile_expression("lead.traits.x == 1 and lead.consent.marketing", fit).names == {"lead"}
    assert trouble("lead.readiness > 3", fit).startswith("5: `lead` has no `readiness` here")


def test_an_expression_knows_what_it_uses() -> None:
    expression = compile_expression("lead.events['A'].count > 1 or lead.events.B.count_within('1d') > steps.ask.response.n", NAMES)
    assert expression.names == {"lead", "steps", "now"}
    assert expression.event_names == {"A", "B"}
    assert expression.step_ids == {"ask"}
    assert expression.speaks_of_time
    assert not compile_expression("lead.hot", NAMES).speaks_of_time
    assert compile_expression("lead.hot", NAMES) == compile_expression("lead.hot", frozenset({"lead"}))


def test_a_name_that_the_scope_lacks_is_none() -> None:
    assert value("lead.readiness == none and key == none", {"now": NOON}) is True
    assert value("lead.events['A'].count + lead.orders.count", {"now": NOON}) == 0
    assert compile_expression("lead.events['A'].count_within('1d')", NAMES)({"lead": a_lead()}) is None


def test_a_lead_may_be_plain_data() -> None:
    lead = {"readiness": 9, "traits": {"country": "DE"}, "events": {"A": {"count": 2, "days": {"2027-03-01": 2}}}}
    assert value("lead.readiness == 9 and lead.traits.country == 'DE' and lead.email == none", {"lead": lead}) is True
    assert value("lead.events.A.count + lead.events.A.count_within('1d') + lead.events.B.count", {"lead": lead, "now": NOON}) == 4
    assert value("lead.orders.count == 0 and lead.orders.total == 0", {"lead": lead}) is True


def test_a_moment_without_offset_is_in_utc() -> None:
    scope = {"now": datetime(2027, 3, 1, 12), "entered_at": datetime(2027, 3, 1, 12, tzinfo=UTC)}  # noqa: DTZ001
    assert value("now == entered_at and now <= '2027-03-01T12:00' and days_since('2027-02-28') == 1.5", scope) is True


def test_many_lines_are_one_expression() -> None:
    assert value("lead.readiness >= 1\n  and lead.id == 'l1'\n") is True


def _words(text: str) -> list[str]:
    return text.split(" ")


SOURCES = st.lists(
    st.sampled_from(
        _words(
            "lead event entry steps key now none true false . .traits .tags .events ['A'] .count .x .class [ ] ( ) , == != < <= > >= in not"
            " and or if else is + - * / % ** 'a' '5' '2027-03-01' 1 0 2.5 1e308 = := lambda : days( hours( len( min( max( round( lower("
            " days_since( .startswith( .count_within('30d') .lower() { } # \\ \" ' f'{x}' ~ @ for \n \t é "
        )
    ),
    max_size=25,
).map(" ".join)


@given(st.one_of(st.text(max_size=60), SOURCES))
@settings(max_examples=600, deadline=None)
@example("(" * 1999)
@example("[" * 1999)
@example("not " * 499 + "1")
@example("lead" + ".x" * 900)
def test_a_source_compiles_or_is_refused_and_nothing_else(source: str) -> None:
    assert -1 <= _offset(source) <= max(len(source), 1)


def _offset(source: str) -> int:
    try:
        compile_expression(source, NAMES)
    except ExpressionError as error:
        return error.offset
    return -1


LEAVES = st.sampled_from(
    _words(
        "lead.readiness lead.traits.a lead.traits.b lead.traits lead.tags lead.email lead.hot lead.consent.marketing lead.created_at"
        " lead.events['A'].count lead.events['A'].last lead.events['A'].count_within('30d') lead.orders.total event.properties.a"
        " event.properties event.at entry.at entry.properties.a.b steps.s steps.s.response.x key now entered_at none true false 0 1 -1 2.5"
        " 1e308 9223372036854775807 '' 'a' '5' '1e5' '2027-03-01' '9999-12-31T23:59:59-14:00' 'ß' [] [1,'a']"
    )
)


def _larger(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    two = _words("== != < <= > >= in and or + - * / %")
    functions = _words("days_since hours_since days hours lower upper len round min max")
    return st.one_of(
        st.tuples(inner, st.sampled_from([*two, "not in"]), inner).map(lambda t: f"({t[0]}) {t[1]} ({t[2]})"),
        st.tuples(inner, inner, inner).map(lambda t: f"({t[0]}) if ({t[1]}) else ({t[2]})"),
        st.tuples(inner, inner, inner).map(lambda t: f"({t[0]}) < ({t[1]}) <= ({t[2]})"),
        st.tuples(st.sampled_from(["not ", "-"]), inner).map(lambda t: f"{t[0]}({t[1]})"),
        st.tuples(st.sampled_from(functions), inner).map(lambda t: f"{t[0]}({t[1]})"),
        st.tuples(st.sampled_from(["min", "max", "round"]), inner, inner).map(lambda t: f"{t[0]}({t[1]}, {t[2]})"),
        st.tuples(inner, st.sampled_from([".startswith", ".endswith"]), inner).map(lambda t: f"({t[0]}){t[1]}({t[2]})"),
        st.tuples(inner, inner).map(lambda t: f"({t[0]})[{t[1]}]"),
        inner.map(lambda t: f"({t}).a" if not t.startswith("lead.") else f"{t}"),
    )


EXPRESSIONS = st.recursive(LEAVES, _larger, max_leaves=12)
DATA = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.text(max_size=5),
        st.sampled_from(["5", "-1.5e3", "2027-03-01", "2027-03-01T10:00:00+14:00", "0001-01-01", "x" * 65_000, 10**400]),
        st.datetimes(),
        st.datetimes(timezones=st.timezones()),
        st.timedeltas(),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(["a", "b", "x", "response"]), inner, max_size=3)),
    max_leaves=6,
)


@given(EXPRESSIONS, DATA, DATA, st.sampled_from([NOON, datetime.min, datetime.max, datetime.max.replace(tzinfo=UTC), None, "soon"]))
@settings(max_examples=800, deadline=None)
def test_evaluating_never_raises_and_stays_small(source: str, a: Any, b: Any, now: Any) -> None:
    scope = a_scope(a_lead(traits={"a": a, "b": b}, events={"A": EventHistory(count=1, last={"a": a}, days={"2027-03-01": 1})}), a=b)
    scope |= {"now": now, "steps": {"s": a}, "key": b}
    try:
        expression = compile_expression(source, NAMES)
    except ExpressionError:
        return
    result = expression(scope)
    expression.truth(scope)
    assert not isinstance(result, str) or len(result) <= 3 * 65_536
    assert not isinstance(result, int) or abs(result) < 2**63 or result in (a, b)


@given(DATA, DATA)
@settings(max_examples=300, deadline=None)
def test_equality_is_symmetric_and_an_order_is_one_way(a: Any, b: Any) -> None:
    scope = {"event": {"properties": {"a": a, "b": b}}}
    both = {op: value(f"event.properties.a {op} event.properties.b", scope) for op in ("==", "!=", "<", ">", "<=", ">=")}
    turned = {op: value(f"event.properties.b {op} event.properties.a", scope) for op in ("==", "<", ">", "<=", ">=")}
    assert both["=="] is turned["=="] is not both["!="]
    assert both["<"] is turned[">"]
    assert both["<="] is turned[">="]
    assert (a is not None and b is not None) or both["<"] is None


def test_data_nested_without_end_harms_nothing() -> None:
    deep: list[Any] = []
    deep.append(deep)
    other: list[Any] = [[]]
    other[0].append(other)
    scope = a_scope(a=deep, b=other)
    assert value("event.properties.a == event.properties.b", scope) is False
    assert value("event.properties.a in event.properties.b", scope) is False
    assert isinstance(value("event.properties.a.x", scope), list)


def test_a_compiled_expression_is_shared_freely() -> None:
    expression: Expression = compile_expression("1 < lead.readiness < 10", NAMES)
    assert [expression.truth(a_scope(a_lead(readiness=number))) for number in (1, 5, 10)] == [False, True, False]
