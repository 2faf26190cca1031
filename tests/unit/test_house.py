"""What holds for the whole checkout: who may import what, what the locks hold, and what no file may say."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import NoReturn

import pytest

HOUSE = Path(__file__).resolve().parents[2]
OURS = ("dripline", "services", "shared")
LOCKS = ("run", "dev", "bench")

CORES = ("ingest.segment", "scoring.readiness", "scoring.identity", "journeys.engine", "mailer.policy", "mailer.compose")
# what travels, how a request is packed for the log, JSON as strangers write it and how deep it goes
WIRE = {"shared.wire", "shared.parcel", "shared.loose", "shared.nesting"}
PURE = WIRE | {"msgspec", "shared.expressions", "shared.durations", "shared.errors", "shared.local_time"}
WRITING = {  # a mail is written with libraries that turn text into text, from definitions that its loader read, in frames of our own
    "mailer.compose": {"css_inline", "idna", "jinja2", "markdown_it", "markupsafe", "selectolax", "pydantic", "pathlib"}
    | {f"shared.{module}" for module in ("documents", "expression_functions", "shapes", "signing", "yaml")},
}
IMPURE = {
    "asyncio",
    "http",
    "logging",
    "os",
    "pathlib",
    "random",
    "secrets",
    "socket",
    "sqlite3",
    "subprocess",
    "threading",
    "time",
    "urllib.request",
}


def imports(path: Path) -> Iterator[str]:
    """Every module a file names in an import: `from a import b` is `a`, or `a.b` where `a` is a package of ours."""
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: write the whole name"
            name = node.module or ""
            package = name.split(".")[0] in OURS and (HOUSE / name.replace(".", "/")).is_dir()
            yield from (f"{name}.{alias.name}" for alias in node.names) if package else [name]


def reached(core: Path) -> Iterator[tuple[Path, str]]:
    """What a module and the modules of its service that it reaches name from outside the service, each with who says it."""
    seen, ahead = {core}, [core]
    while ahead:
        path = ahead.pop()
        for name in imports(path):
            inside = {HOUSE / f"{part.replace('.', '/')}.py" for part in prefixes(name) if part.startswith(f"services.{core.parent.name}.")}
            if not inside:
                yield path, name
            ahead += [module for module in inside - seen if module.exists()]
            seen |= inside


def prefixes(name: str) -> set[str]:
    """`a`, `a.b` and `a.b.c` of `a.b.c`."""
    words = name.split(".")
    return {".".join(words[:count]) for count in range(1, len(words) + 1)}


def sources() -> list[Path]:
    return [path for package in OURS for path in sorted((HOUSE / package).rglob("*.py"))]


def declared() -> dict[str, list[str]]:
    """The names pyproject.toml asks for, as the locks spell them: for `run`, and by group."""
    project = tomllib.loads((HOUSE / "pyproject.toml").read_text())
    wishes = {"run": project["project"]["dependencies"]} | project["dependency-groups"]
    return {group: [named(wish) for wish in names] for group, names in wishes.items()}


def named(wish: str) -> str:
    found = re.match(r"[\w.-]+", wish)
    assert found
    return re.sub(r"[-_.]+", "-", found[0]).lower()


def pins(lock: str) -> dict[str, str]:
    text = (HOUSE / "locks" / f"{lock}.txt").read_text()
    return dict(re.findall(r"^([a-z0-9][a-z0-9.-]*)==(\S+)", text, re.MULTILINE))


def committed() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=HOUSE, stdout=subprocess.PIPE, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    return [HOUSE / name for name in listed.stdout.decode().split("\0") if name and (HOUSE / name).is_file()]


@pytest.mark.parametrize("core", CORES)
def test_a_core_and_what_it_stands_on_in_its_service_are_pure(core: str) -> None:
    pure = PURE | WRITING.get(core, set())
    for path, name in reached(HOUSE / "services" / f"{core.replace('.', '/')}.py"):
        standard = name.split(".")[0] in sys.stdlib_module_names and not prefixes(name) & IMPURE
        assert standard or prefixes(name) & pure, f"{core}: {path.relative_to(HOUSE)} imports {name}"


def test_what_runs_imports_only_what_is_declared() -> None:
    owners = packages_distributions()
    wanted = set(declared()["run"])
    for path in sources():
        for name in {name.split(".")[0] for name in imports(path)} - set(OURS) - sys.stdlib_module_names:
            assert {named(owner) for owner in owners[name]} & wanted, f"{path.relative_to(HOUSE)} imports {name}"


def test_no_locked_distribution_owns_a_name_of_ours() -> None:
    owners = packages_distributions()
    assert {name: set(owners.get(name, ())) - {"dripline"} for name in OURS} == {name: set() for name in OURS}


def test_only_the_locks_pin() -> None:
    assert "==" not in (HOUSE / "pyproject.toml").read_text()


@pytest.mark.parametrize(
    ("lock", "groups"), [("run", ["run", "build"]), ("dev", ["run", "build", "dev"]), ("bench", ["run", "build", "bench"])]
)
def test_a_lock_holds_what_was_asked_for(lock: str, groups: list[str]) -> None:
    asked = {name for group in groups for name in declared()[group]}
    assert asked - pins(lock).keys() == set(), "make lock"


@pytest.mark.parametrize("lock", LOCKS)
def test_every_locked_package_has_hashes(lock: str) -> None:
    entries = re.split(r"^(?=[a-z0-9])", (HOUSE / "locks" / f"{lock}.txt").read_text(), flags=re.MULTILINE)
    assert [entry.splitlines()[0] for entry in entries if re.match(r"[a-z0-9]", entry) and "--hash=sha256:" not in entry] == []


def test_the_locks_agree() -> None:
    run, dev, bench = (pins(lock).items() for lock in LOCKS)
    assert run <= dev
    assert run <= bench
    assert {name for name, version in dict(bench).items() if dict(dev).get(name, version) != version} == set()


REGISTRIES = (
    "pypi" + ".org",
    "files.python" + "hosted.org",
    "registry.npm" + "js.org",
    "registry.yarn" + "pkg.com",
    "proxy.go" + "lang.org",
)
PLACES = (r"--(?:extra-)?index-url\s", r"--find-links\s", r"(?<![\w.~-])/(?:root|home|Users|wo" + r"rk|opt/wheels)/\w")


@pytest.mark.parametrize("pattern", [*map(re.escape, REGISTRIES), *PLACES])
def test_no_file_names_a_registry_or_a_place_on_somebodys_machine(pattern: str) -> None:
    said = re.compile(pattern.encode())
    assert [str(path.relative_to(HOUSE)) for path in committed() if said.search(path.read_bytes())] == []


def test_a_missing_service_skips(require_service: Callable[[str, str], NoReturn], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REQUIRE_SERVICES", raising=False)
    with pytest.raises(pytest.skip.Exception, match="without Node: not on PATH"):
        require_service("Node", "not on PATH")


def test_a_missing_service_fails_where_it_was_promised(
    require_service: Callable[[str, str], NoReturn], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUIRE_SERVICES", "1")
    with pytest.raises(pytest.fail.Exception, match="without Node: not on PATH"):
        require_service("Node", "not on PATH")
