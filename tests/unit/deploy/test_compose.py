"""The image and the compose file fit the code: the same services, ports, settings and files; and a client of compose takes them."""

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest
import yaml

from dripline.known_settings import ELSEWHERE, known
from dripline.serve import PORTS

HOUSE = Path(__file__).resolve().parents[3]
DEPLOY = HOUSE / "deploy"
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
OURS = (*PORTS, "migrate", "publish")
EXAMPLE = dict(line.split("=", 1) for line in (DEPLOY / ".env.example").read_text().splitlines() if re.match(r"\w+=", line))


def client() -> list[str] | None:
    """The command that reads compose files here, or None."""
    if shutil.which("docker") and subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode == 0:
        return ["docker", "compose"]
    return ["docker-compose"] if shutil.which("docker-compose") else None


def read_by_client(command: list[str], folder: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    """What the client makes of the file with these settings, and none of this machine's."""
    (folder / "env").write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
    options = ["--env-file", str(folder / "env"), "--file", str(DEPLOY / "compose.yaml"), "config"]
    environ = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return subprocess.run([*command, *options], env=environ, capture_output=True, text=True, check=False)


@pytest.fixture
def compose(require_service: Callable[[str, str], NoReturn]) -> list[str]:
    return client() or require_service("compose", "neither `docker compose` nor `docker-compose` is on PATH")


def test_the_client_takes_the_file(compose: list[str], tmp_path: Path) -> None:
    found = read_by_client(compose, tmp_path, **{name: value or "x" * 32 for name, value in EXAMPLE.items()})
    assert found.returncode == 0, found.stderr
    assert {*PORTS, "kafka", "postgres", "mail", "prometheus", "grafana"} <= yaml.safe_load(found.stdout)["services"].keys()


@pytest.mark.parametrize("name", [name for name, value in EXAMPLE.items() if not value and not name.startswith("SALES")])
def test_a_secret_that_is_missing_is_refused_by_name(compose: list[str], tmp_path: Path, name: str) -> None:
    found = read_by_client(compose, tmp_path, **{other: value or "x" * 32 for other, value in EXAMPLE.items() if other != name})
    assert found.returncode != 0
    assert "set it in deploy/.env" in found.stderr


def test_every_name_that_must_be_set_stands_in_the_example() -> None:
    assert set(re.findall(r"\$\{(\w+):\?", (DEPLOY / "compose.yaml").read_text())) <= EXAMPLE.keys()


@pytest.mark.parametrize("name", OURS)
def test_a_service_of_ours_writes_nowhere_and_may_nothing(name: str) -> None:
    service = COMPOSE["services"][name]
    assert (service["read_only"], service["cap_drop"], service["image"]) == (True, ["ALL"], COMPOSE["x-dripline"]["image"])


@pytest.mark.parametrize(("name", "port"), PORTS.items())
def test_every_service_is_served_and_asked_on_its_port(name: str, port: int) -> None:
    service = COMPOSE["services"][name]
    assert service["command"][:2] == ["serve", name]
    assert f"http://127.0.0.1:{port}/healthz" in service["healthcheck"]["test"][-1]
    assert all(published.endswith(f":{port}") for published in service.get("ports", ()))
    assert COMPOSE["x-dripline"]["environment"].get(f"DRIPLINE_{name.upper()}_URL", f"http://{name}:{port}") == f"http://{name}:{port}"


def test_what_compose_sets_are_settings() -> None:
    names: set[str] = set()
    for name in OURS:
        names |= {setting for setting in COMPOSE["services"][name]["environment"] if setting.startswith("DRIPLINE_")}
    assert names - known() - ELSEWHERE == set()


def test_nothing_is_published_to_other_machines_and_every_image_is_pinned() -> None:
    for name, service in COMPOSE["services"].items():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ())), name
        assert re.search(r":v?\d+\.\d+|\$\{DRIPLINE_VERSION", service["image"]), name


def test_what_others_stand_on_is_waited_for() -> None:
    services = COMPOSE["services"]
    assert services["migrate"]["depends_on"] == {name: {"condition": "service_healthy"} for name in ("postgres", "kafka")}
    for name in PORTS:
        assert services[name]["depends_on"] == {"migrate": {"condition": "service_completed_successfully"}}, name


DOCKERFILE = (DEPLOY / "Dockerfile").read_text()


def test_the_image_installs_the_lock_by_its_hashes_and_is_not_root() -> None:
    assert "--require-hashes --requirement locks/run.txt" in DOCKERFILE
    assert re.search(r"^USER [1-9]\d*:[1-9]\d*$", DOCKERFILE, re.MULTILINE)
    assert re.search(r"^ARG PYTHON=\d+\.\d+\.\d+-", DOCKERFILE, re.MULTILINE)
    assert re.findall(r"^EXPOSE (.*)$", DOCKERFILE, re.MULTILINE) == [" ".join(map(str, sorted(PORTS.values())))]


def test_what_the_image_is_made_of_is_there_and_reaches_the_build() -> None:
    copied = [word for line in re.findall(r"^COPY (?!--from)(.*) \S+$", DOCKERFILE, re.MULTILINE) for word in line.split()]
    assert [name for name in copied if not (HOUSE / name).exists()] == []
    let_in = {line[1:] for line in (HOUSE / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert let_in == set(copied)


def test_the_compose_spool_is_a_volume_at_the_place_that_ingest_is_told() -> None:
    ingest: dict[str, Any] = COMPOSE["services"]["ingest"]
    (volume,) = ingest["volumes"]
    assert volume == f"spool:{ingest['environment']['DRIPLINE_SPOOL_DIR']}"
    assert f"{ingest['environment']['DRIPLINE_SPOOL_DIR']}" in DOCKERFILE
