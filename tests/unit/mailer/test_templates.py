"""What a template may say, what it prints, and how it fails: whole mails, or a clear reason."""

import time
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from services.mailer.sandbox import ZONE, Sandbox
from services.mailer.template_files import read_templates
from services.mailer.templates import Program, TemplateProblem
from shared.documents import PlaybookError
from tests.builders import a_lead, a_template

FILE = "templates/w.html"


def render(source: str, *, html: bool = False, markdown: bool = False, **names: Any) -> str:
    scope = {"lead": {"traits": {}}, "key": None, ZONE: ZoneInfo("Europe/Dublin")} | names
    return Program(Sandbox(html=html, markdown=markdown), source, FILE).render(scope)


def troubles(source: str) -> list[str]:
    with pytest.raises(PlaybookError) as found:
        Program(Sandbox(html=True), source, FILE)
    return [str(trouble) for trouble in found.value.troubles]


def test_a_trait_is_printed_and_escaped_in_html() -> None:
    assert render("Hi {{ lead.traits.name }}", html=True, lead=a_lead(traits={"name": "<b>Ana</b>"})) == "Hi &lt;b&gt;Ana&lt;/b&gt;"


def test_a_missing_trait_holds_the_mail_and_says_where_and_how_to_mend_it() -> None:
    with pytest.raises(TemplateProblem) as found:
        render("Hello,\n\nHi {{ lead.traits.nam }}!")
    assert found.value.template == "w"
    assert str(found.value).startswith("templates/w.html:3: `nam` is missing in: Hi {{ lead.traits.nam }}!")
    assert "default(" in str(found.value)


@pytest.mark.parametrize("traits", [{}, {"name": None}, {"name": ""}, {"name": "  "}])
def test_default_stands_in_for_what_is_missing_none_or_blank(traits: dict[str, Any]) -> None:
    assert render("Hi {{ lead.traits.name | default('there') }}", lead=a_lead(traits=traits)) == "Hi there"


def test_default_reaches_through_what_is_missing_above_it() -> None:
    assert render("{{ lead.traits.address.city | default('somewhere') }}") == "somewhere"


def test_what_is_missing_is_false_in_a_condition_as_in_the_playbooks_expressions() -> None:
    asked = ("lead.traits.vip", "lead.traits.age > 18", "'x' in lead.traits.list", "lead.traits.tier == 'gold'")
    assert [render("{% if " + each + " %}yes{% else %}no{% endif %}") for each in asked] == ["no"] * len(asked)
    assert render("{% if lead.traits.age is none and key is none %}none{% endif %}") == "none"


@pytest.mark.parametrize(
    "source",
    [
        "{{ lead.traits.name }}",
        "{{ lead.traits.name | upper }}",
        "{{ 'Hi ' ~ lead.traits.name }}",
        "{{ lead.traits.price * 2 }}",
        "{% for one in lead.traits.list %}x{% endfor %}",
        "{{ lead.traits.name | length }}",
        "{{ lead.traits.when | date }}",
        "{{ key }}",
    ],
)
def test_what_is_missing_is_never_printed(source: str) -> None:
    with pytest.raises(TemplateProblem):
        render(source)


def test_a_list_is_not_printed_raw() -> None:
    with pytest.raises(TemplateProblem, match="join"):
        render("{{ lead.tags }}", lead=a_lead(tags=["vip"]))
    assert render("{{ lead.tags | join(', ') }}", lead=a_lead(tags=["vip", "tea"])) == "vip, tea"


def test_a_moment_is_printed_as_a_day_on_the_readers_clock() -> None:
    late = datetime(2027, 6, 30, 23, 30, tzinfo=UTC)
    assert render("{{ now }} {{ now | date('%H:%M') }}", now=late) == "1 July 2027 00:30"


def test_a_trait_called_items_is_a_trait() -> None:
    lead = a_lead(traits={"items": ["tea", "cup"]})
    assert render("{% for item in lead.traits.items %}{{ item }};{% endfor %}", lead=lead) == "tea;cup;"


def test_values_lose_control_characters_and_direction_overrides_but_keep_joiners() -> None:
    lead = a_lead(traits={"name": "A\u202en\x07a\u2066", "persian": "می‌خواهم"})
    assert render("{{ lead.traits.name }} {{ lead.traits.persian }}", lead=lead) == "Ana می‌خواهم"


def test_bdi_keeps_a_names_direction_to_itself() -> None:
    lead = a_lead(traits={"name": "<آنا>"})
    assert render("{{ lead.traits.name | bdi }}", html=True, lead=lead) == "<bdi>&lt;آنا&gt;</bdi>"
    assert render("{{ lead.traits.name | bdi }}", lead=lead) == "\u2068<آنا>\u2069"


def test_a_value_is_text_in_markdown_and_never_markup() -> None:
    lead = a_lead(traits={"name": "*[x](https://evil.example)*\n# big"})
    assert render("{{ lead.traits.name }}", markdown=True, lead=lead) == r"\*\[x\]\(https\:\/\/evil\.example\)\* \# big"


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("Hi\n{{ leda.email }}", "templates/w.html:2:1: there is no `leda` here, did you mean `lead`?"),
        ("{{ lead.emial }}", "`lead` has no `emial`, did you mean `email`?"),
        ("{{ lead['emial'] }}", "`lead` has no `emial`"),
        ("{{ event.properties.x }}", "what began the enrollment is `entry`"),
        ("{{ name | uper }}", "there is no filter `uper`, did you mean `upper`?"),
        ("{% if key is evn %}{% endif %}", "there is no test `evn`"),
        ("{{ links.answer('a', 'b') }}", "not yet: `links.answer`"),
        ("{{ coupon('TEN', expires='3d') }}", "not yet: `coupon`"),
        ("{% if %}", "this is not a template"),
        ("{% include 'x' %}", "stands alone"),
        ("{% macro f() %}{{ f() }}{% endmacro %}", "`macro` is not for templates"),
        ("{% set x %}{{ key }}{% endset %}", "`set` takes an expression"),
        ("{% set lead = 1 %}", "`lead` is taken"),
        ("{{ lead.email.format(1) }}", "`format` cannot be called"),
        ("{{ lead.email.center(9) }}", "`center` cannot be called"),
        ("{{ ''.__class__ }}", "`__class__` is not for templates"),
        ("{{ 2 ** 3 }}", "`**` is not for templates"),
        ("{{ [lead, lead] }}", "only plain values"),
        ("{% for a in key recursive %}{% endfor %}", "`recursive`"),
        ("{% for a in key %}{% for b in a %}{% for c in b %}{% endfor %}{% endfor %}{% endfor %}", "at most 2 deep"),
        ("{{ key }}" * 4000, "more than 3000"),
        ("{{ " + "(" * 3000 + "1" + ")" * 3000 + " }}", "this is not a template"),
        ("{{ " + "9" * 5000 + " }}", "this is not a template"),
    ],
)
def test_what_a_template_may_not_say_is_found_when_it_is_loaded(source: str, said: str) -> None:
    assert any(said in trouble for trouble in troubles(source))


def test_every_flaw_of_a_template_is_reported_at_once() -> None:
    assert len(troubles("{{ leda }}\n{{ lead.emial }}\n{{ 2 ** 2 }}")) == 3


@pytest.mark.parametrize(
    "source",
    [
        "{% for a in range(1000) %}{% for b in range(1000) %}{% endfor %}{% endfor %}",
        "{{ range(100000) | length }}",
        "{{ 'x' * 100000000 }}",
        "{{ lead.email * 100000000 }}",
        "{{ '%1000000000d' % 1 }}",
        "{% set a = lead.email %}" + "{% set a = a ~ a %}" * 40,
        "{% set a = lead.email %}" + "{% set a = a + a %}" * 40,
        "{% set a = lead.email %}" + "{% set a = a | replace('a', a) %}" * 20,
        "{% set a = lead.tags %}" + "{% set a = a + a %}" * 40,
        "{% set a = 7 %}" + "{% set a = a * a %}" * 40,
        "{% set a = lead.email %}" + "{% set a = [1, 2, 3] | join(a) %}" * 40,
        "{% for a in range(1000) %}{{ lead.traits.long }}{% endfor %}",
    ],
)
def test_a_template_cannot_take_all_time_or_memory(source: str) -> None:
    started = time.perf_counter()
    with pytest.raises(TemplateProblem):
        render(source, lead=a_lead(tags=["a"], traits={"long": "x" * 1000}))
    assert time.perf_counter() - started < 2


def test_rounding_has_no_endless_digits() -> None:
    assert render("{{ 5 | round(-1000000000) }} {{ 2.345 | round(2) }} {{ 2.5 | round(1000000000) }}") == "5 2.35 2.5"


def test_ordinary_loops_run_and_know_their_place() -> None:
    products = [{"name": "Sencha", "price": 9.5}, {"name": "Cup", "price": 12}]
    line = "{{ loop.index }}/{{ loop.length }} {{ p.name ~ ': ' ~ p.price }}{{ '' if loop.last else ', ' }}"
    source = "{% for p in entry.properties.products %}" + line + "{% endfor %}"
    assert render(source, entry={"properties": {"products": products}}) == "1/2 Sencha: 9.5, 2/2 Cup: 12"


def test_front_matter_takes_a_line_as_it_is_written() -> None:
    front = ["---", "# a remark", "subject: {{ lead.traits.name | default('You') }}: order #5, \"soon\"", "preheader: 'Hello'", "---"]
    templates, found = read_templates({FILE: "\r\n".join([*front, "<p>x</p>"]).encode()})
    assert not found
    variant = templates["w"].variant(None)
    assert variant.subject.render({"lead": {"traits": {}}}) == 'You: order #5, "soon"'
    assert variant.preheader is not None
    assert variant.preheader.render({}) == "Hello"


def test_the_line_of_a_flaw_counts_from_the_files_first_line() -> None:
    _, found = read_templates({FILE: a_template("<p>\n{{ leda }}", "{{ lead.emial }}")})
    assert [(trouble.line, trouble.message.partition(",")[0]) for trouble in found] == [
        (2, "`lead` has no `emial`"),
        (5, "there is no `leda` here"),
    ]


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"a.html": b"<p>x</p>"}, "templates/a.html:1:1: begin with front matter"),
        ({"a.html": b"---\nsubject: x\n"}, "begin with front matter"),
        ({"a.html": b"---\npreheader: x\n---\n"}, "the mail has no `subject`"),
        ({"a.html": b"---\nsubjct: x\nsubject: y\n---\n"}, "templates/a.html:2:1: unknown key `subjct`, did you mean `subject`?"),
        ({"a.html": b"---\nsubject: x\nfrom: nobody\n---\n"}, "templates/a.html:3:1: from: `nobody` is not a mail address"),
        ({"a.html": b"---\nsubject: x\nfold\n---\n"}, "templates/a.html:3:1: write `key: value`"),
        ({"a.html": b"---\nsubject: x\n---\n\xff"}, "templates/a.html:4:1: this is not UTF-8"),
        ({"a.html": a_template(), "a.md": a_template()}, "the same mail stands in templates/a.html"),
        ({"a.fa.html": a_template()}, "add templates/a.html for the others"),
        ({"a.txt": b"x"}, "a text part needs its page"),
        ({"a.mjml": b"x"}, "not yet: .mjml"),
        ({"a.v2.html": a_template()}, "a template is called NAME.html"),
        ({"sub/a.html": a_template()}, "a template is called NAME.html"),
        ({"a.html": b"x" * 300_000}, "larger than 256 KiB"),
    ],
)
def test_what_is_wrong_with_a_template_file_is_said_with_its_place(files: dict[str, bytes], said: str) -> None:
    _, found = read_templates({f"templates/{name}": content for name, content in files.items()})
    assert any(said in str(trouble) for trouble in found)


@pytest.mark.parametrize(
    ("locale", "variant"),
    [("fa-IR", "fa"), ("fa_IR", "fa"), ("FA", "fa"), ("pt-BR", "pt-br"), ("pt", ""), ("de", ""), (None, ""), ("", "")],
)
def test_the_nearest_locale_is_chosen(locale: str | None, variant: str) -> None:
    templates, found = read_templates({f"templates/w{name}.html": a_template() for name in ("", ".fa", ".pt-BR")})
    assert not found
    assert templates["w"].variant(locale).locale == variant


def test_an_enormous_mail_is_not_written() -> None:
    with pytest.raises(TemplateProblem, match="512 KiB"):
        render("{% for a in range(1000) %}{{ lead.traits.long }}{% endfor %}", lead=a_lead(traits={"long": "x" * 1000}))


def test_time_can_be_reckoned_with() -> None:
    now = datetime(2027, 3, 3, tzinfo=UTC)
    assert render("{{ (now - entered_at).days }}", now=now, entered_at=now - timedelta(days=2)) == "2"
