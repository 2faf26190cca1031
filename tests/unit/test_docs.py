"""The pages of docs/ are true of the code: what they name is there, what they write is accepted, what they reckon comes out."""

import ast
import re
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from functools import cache
from pathlib import Path

import httpx
import pytest

from dripline.check import check
from dripline.embedded import opened
from dripline.environment import playbook_environment
from services.journeys.forms import LATER
from services.journeys.notes import AT_AN_EVENT, AT_THE_DOOR, INSIDE
from services.mailer.compose import compose
from services.mailer.fence import NAMES
from services.mailer.links import Links
from services.mailer.loader import load as load_mailer
from services.mailer.sandbox import Sandbox
from services.scoring.loader import OF_A_LEAD, OF_AN_EVENT
from services.scoring.readiness import fold, readiness
from shared.expressions import compile_expression
from shared.playbooks import playbook_of, read_folder
from shared.signing import Signer
from shared.wire import Consent, Entry, EventHistory
from tests.builders import NOON, a_lead, a_send, an_event, scoring_definitions

HOUSE = Path(__file__).resolve().parents[2]
STARTER = read_folder(HOUSE / "playbooks" / "starter").files
ENVIRON = playbook_environment()

REFERENCE = re.compile(r"`([\w/]+\.py):([\w.]+)`")
LINK = re.compile(r"\]\(([^)#:]+)\)")
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILE_NAME = re.compile(r"^# ((?:[\w-]+/)?[\w.-]+\.(?:yaml|html|md|txt))$", re.MULTILINE)
ROUTE = re.compile(r"`(GET|POST|PATCH|PUT|DELETE) (/[^\s`]*)`")
PAGES = (
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "SECURITY.md",
    *(str(path.relative_to(HOUSE)) for path in sorted(HOUSE.glob("docs/**/*.md"))),
)


@cache
def page(name: str) -> str:
    return (HOUSE / name).read_text()


def section(name: str, heading: str) -> str:
    """What stands under a heading of the second level."""
    return page(name).split(f"\n## {heading}\n")[1].split("\n## ")[0]


def quoted(text: str) -> list[str]:
    """The words that a text sets as code."""
    return re.findall(r"`([^`]+)`", text)


def rows(text: str) -> Iterator[tuple[str, str]]:
    """The rows of a table of two columns, without its head."""
    for line in text.splitlines():
        if line.startswith("| ") and not line.startswith("| where |"):
            first, second = line.strip("| ").split(" | ", 1)
            yield first, second


@pytest.mark.parametrize("name", PAGES)
def test_every_link_between_pages_leads_somewhere(name: str) -> None:
    targets = [target for target in LINK.findall(page(name)) if "{{" not in target]
    assert [target for target in targets if not ((HOUSE / name).parent / target).exists()] == []


@pytest.mark.parametrize(("name", "lines"), [("docs/walk.md", 120), ("docs/playbook.md", 400), ("docs/api.md", 200)])
def test_a_page_is_read_in_one_sitting(name: str, lines: int) -> None:
    assert len(page(name).splitlines()) <= lines


@pytest.mark.parametrize(("file", "name"), REFERENCE.findall(page("docs/walk.md")))
def test_every_hop_of_the_walk_is_in_the_code(file: str, name: str) -> None:
    names = list(defined(ast.parse((HOUSE / file).read_text())))
    assert name in names, f"{file} has no {name}"


def defined(node: ast.AST, owner: str = "") -> Iterator[str]:
    """What a module defines at its top, and what its classes do: `react`, `Walk.go`, `CORES`."""
    for child in ast.iter_child_nodes(node):
        match child:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield owner + name
            case ast.ClassDef(name=name):
                yield owner + name
                yield from defined(child, f"{owner}{name}.")
            case ast.AnnAssign(target=ast.Name(id=name)) | ast.Assign(targets=[ast.Name(id=name)]):
                yield owner + name


def test_the_walk_comes_through_every_service() -> None:
    visited = {file.split("/")[1] for file, _ in REFERENCE.findall(page("docs/walk.md")) if file.startswith("services/")}
    assert visited == {"ingest", "scoring", "journeys", "mailer", "console"}


def examples() -> dict[str, bytes]:
    """The example playbook: every fenced block of docs/playbook.md that says which file it is."""
    blocks = [body for language, body in FENCED.findall(page("docs/playbook.md")) if language in ("yaml", "html")]
    named = [(FILE_NAME.search(body), body) for body in blocks]
    assert [body for found, body in named if found is None] == [], "say which file it is: `# journeys/welcome.yaml`"
    return {found[1]: body.encode() for found, body in named if found}


def test_the_examples_are_a_playbook() -> None:
    templates = {name: text for name, text in STARTER.items() if not name.startswith("journeys/")}
    assert [*map(str, check(playbook_of(templates | examples()), ENVIRON))] == []


def test_the_mails_of_the_examples_can_be_written_for_a_lead_of_whom_little_is_known() -> None:
    book = load_mailer(STARTER | examples(), ENVIRON, "v1")
    links = Links(Signer(b"k" * 32), "http://127.0.0.1:8300")
    for file in examples():
        if file.startswith("templates/"):
            assert compose(book, a_send(Path(file).stem), a_lead(), links, "<m@acme.example>", NOON).targets or file.endswith("call.md")


def test_the_worked_readiness_comes_out() -> None:
    rules = scoring_definitions(examples()["readiness.yaml"].decode()).rules
    bo = a_lead(traits={"employees": 60})
    looked = {"name": "Page Viewed", "properties": {"path": "/pricing"}}
    evidence = fold({}, rules, an_event("Ebook Downloaded", at=NOON - timedelta(days=59)))
    for number in range(2):
        evidence = fold(evidence, rules, an_event(id=f"e{number}", **looked))
    found = readiness(evidence, rules, bo, NOON)
    assert [(reason.rule, reason.points) for reason in found.reasons] == [("ebook", 3.5), ("pricing", 1.0), ("size", 1.0)]
    assert f"Together {found.points}: Bo's readiness is {found.value}." in page("docs/playbook.md")


ANA = a_lead(
    traits={"name": "Ana", "plan": "Team", "employees": "60"},
    tags=["vip"],
    consent=Consent(marketing=True, address="ana@example.com"),
    events={"Ebook Downloaded": EventHistory(count=1, first_at=NOON, last_at=NOON, days={"2027-03-01": 1})},
)
CART = Entry(
    at=NOON, event="Cart Updated", properties={"products": [{"name": "Sencha", "category": "tea"}, {"name": "Bowl", "category": "cup"}]}
)
SCOPE = {"lead": ANA, "entry": CART, "key": None, "entered_at": NOON, "steps": {}, "now": NOON + timedelta(hours=1)}

PYTHON = {"none": "None", "true": "True", "false": "False"}


@pytest.mark.parametrize(
    "line", next(body for language, body in FENCED.findall(page("docs/playbook.md")) if language == "python").splitlines()
)
def test_an_expression_gives_what_the_page_says(line: str) -> None:
    source, _, said = line.rpartition("# ")
    assert repr(compile_expression(source.strip(), INSIDE)(SCOPE)) == PYTHON.get(said, said)


def test_the_page_says_what_can_be_named_where() -> None:
    said = [set(quoted(names)) for place, names in rows(section("docs/playbook.md", "Expressions"))]
    assert said == [AT_THE_DOOR, INSIDE, AT_AN_EVENT, OF_AN_EVENT, OF_A_LEAD]


def test_the_page_says_what_templates_see_and_which_filters_there_are() -> None:
    told = section("docs/playbook.md", "Templates")
    names = next(line for line in told.splitlines() if line.startswith("- **Names**"))
    assert {name for name in quoted(names) if "." not in name} == set(NAMES)
    filters = next(line for line in told.splitlines() if line.startswith("- **Filters**"))
    assert set(quoted(filters)[0].split()) == {name for name in Sandbox().filters if not name.startswith("_")}


JOURNEY = "journey: later\ntrigger: {event: A}\nsteps: [{send: welcome-1}]\n"
LATER_FILES = {
    "playbook.yaml": lambda key: {"playbook.yaml": f"mail: {{from: a@acme.example}}\n{key}: 1\n"},
    "mail": lambda key: {"playbook.yaml": f"mail: {{from: a@acme.example, {key}: 1}}\n"},
    "readiness.yaml": lambda key: {"readiness.yaml": f"{key}: 1\n"},
    "trigger": lambda key: {"journeys/later.yaml": JOURNEY.replace("event: A", f"event: A, {key}: 1")},
    "journey": lambda key: {"journeys/later.yaml": JOURNEY + key + "\n"},
    "steps": lambda key: {"journeys/later.yaml": JOURNEY.replace("send: welcome-1", f"{key}: 1")},
    "send": lambda key: {"journeys/later.yaml": JOURNEY.replace("welcome-1", f"welcome-1, {key}: x")},
    "wait": lambda key: {"journeys/later.yaml": JOURNEY.replace("send: welcome-1", f"wait: {{{key}: x}}")},
    "handoff": lambda key: {"journeys/later.yaml": JOURNEY.replace("send: welcome-1", f"handoff: sales, {key}: x")},
    "templates": lambda name: {
        "templates/later.mjml" if name == ".mjml" else "templates/later.html": f"---\nsubject: x\n---\n{{{{ {name.strip('.')} }}}}\n"
    },
}


@pytest.mark.parametrize(
    ("where", "what"), [(where, what) for where, names in rows(section("docs/playbook.md", "Not yet")) for what in quoted(names)]
)
def test_what_the_page_calls_not_yet_check_calls_so_too(where: str, what: str) -> None:
    files = {name: text.encode() for name, text in LATER_FILES[where](what).items()}
    starter = {name: text for name, text in STARTER.items() if where not in ("playbook.yaml", "mail") or not name.startswith("journeys/")}
    troubles = [str(trouble) for trouble in check(playbook_of(starter | files), ENVIRON)]
    assert [trouble for trouble in troubles if "not yet" in trouble], troubles


def test_what_check_calls_not_yet_stands_on_the_page() -> None:
    told = set(quoted(section("docs/playbook.md", "Not yet")))
    assert set(LATER) - told == set()


@pytest.fixture
async def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[httpx.AsyncClient]:
    monkeypatch.delenv("SALES_WEBHOOK_URL", raising=False)
    async with opened(tmp_path / "data") as (client, _):
        yield client


def routes(text: str) -> set[tuple[str, str]]:
    return {(method, nameless(path)) for method, path in ROUTE.findall(text)}


def nameless(path: str) -> str:
    """What a part of a path is called is not compared."""
    return re.sub(r"\{[^}]*\}", "{}", path)


async def answers(api: httpx.AsyncClient, method: str, path: str) -> bool:
    """Whether anything answers there, if only that it wants a key."""
    found = await api.request(method, path.replace("{}", "x"), json={} if method in ("POST", "PATCH") else None)
    return "nothing answers" not in found.text


async def test_every_route_that_is_described_and_answers_stands_on_the_page(api: httpx.AsyncClient) -> None:
    described = (await api.get("/openapi.json")).json()["paths"]
    there = {(method.upper(), nameless(path)) for path, methods in described.items() for method in methods}
    assert [route for route in there - routes(page("docs/api.md")) if await answers(api, *route)] == []


async def test_every_route_on_the_page_answers_and_the_later_ones_do_not(api: httpx.AsyncClient) -> None:
    later = routes(section("docs/api.md", "Not yet"))
    wrong = [route for route in routes(page("docs/api.md")) if await answers(api, *route) == (route in later)]
    assert wrong == []


@pytest.mark.parametrize(
    "code", [word for word in quoted(section("docs/api.md", "Posting events")) if re.fullmatch(r"[a-z]+_[a-z_]+", word)]
)
def test_every_code_on_the_page_is_one_of_ours(code: str) -> None:
    sources = [*HOUSE.glob("services/ingest/*.py"), *HOUSE.glob("services/scoring/*.py"), HOUSE / "shared" / "loose.py"]
    assert any(f'"{code}"' in path.read_text() for path in sources)
