"""The manifests fit the code: every service with its port, probes, settings and paths, and nobody may more than he needs."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from dripline.doorway import INGEST_PATHS, MAILER_PATHS
from dripline.known_settings import ELSEWHERE, known
from dripline.serve import PORTS
from dripline.settings import ServeSettings
from dripline.worker import STOP_SECONDS
from services.mailer.settings import MailerSettings
from shared import wire
from shared.kafka_cluster import Cluster
from shared.serving import GRACE_SECONDS
from tests.unit.deploy.manifests import KUBERNETES, of_kind, settings_file

HOUSE = Path(__file__).resolve().parents[3]
WORKLOADS = {found["metadata"]["name"]: found for kind in ("Deployment", "StatefulSet", "Job") for found in of_kind(kind)}
SECRET = yaml.safe_load((KUBERNETES / "secret.example.yaml").read_text())["stringData"]
SETTINGS = settings_file("settings.env")
PROBES = re.findall(r'@router\.get\("(/\w+z)"\)', (HOUSE / "shared" / "http.py").read_text())


def pod(name: str) -> dict[str, Any]:
    found: dict[str, Any] = WORKLOADS[name]["spec"]["template"]
    return found


def container(name: str) -> dict[str, Any]:
    (only,) = pod(name)["spec"]["containers"]
    assert isinstance(only, dict)
    return only


def test_every_service_is_there_and_the_schema_is_brought_up_to_date() -> None:
    assert WORKLOADS.keys() == {*PORTS, "migrate"}
    assert WORKLOADS["ingest"]["kind"] == "StatefulSet"
    assert container("migrate")["args"] == ["migrate"]
    named = yaml.safe_load((KUBERNETES / "base" / "kustomization.yaml").read_text())["resources"]
    assert sorted(named) == sorted(path.name for path in (KUBERNETES / "base").glob("*.yaml") if path.name != "kustomization.yaml")


@pytest.mark.parametrize(("name", "port"), PORTS.items())
def test_a_service_is_served_found_asked_and_measured_on_its_port(name: str, port: int) -> None:
    served = container(name)
    assert served["args"] == ["serve", name, "--host", "0.0.0.0"]
    assert served["ports"] == [{"name": "http", "containerPort": port}]
    (found,) = [service for service in of_kind("Service") if service["metadata"]["name"] == name]
    assert found["spec"]["ports"] == [{"name": "http", "port": port, "targetPort": "http"}]
    assert pod(name)["metadata"]["annotations"]["prometheus.io/port"] == str(port)
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert served[probe]["httpGet"]["path"] in PROBES, probe
        assert served[probe]["httpGet"]["port"] == "http", probe
    assert SETTINGS.get(f"DRIPLINE_{name.upper()}_URL", f"http://{name}:{port}") == f"http://{name}:{port}"


@pytest.mark.parametrize("name", PORTS)
def test_whatever_chooses_pods_chooses_these(name: str) -> None:
    labels = pod(name)["metadata"]["labels"]
    (budget,) = [found for found in of_kind("PodDisruptionBudget") if found["metadata"]["name"] == name]
    (service,) = [found for found in of_kind("Service") if found["metadata"]["name"] == name]
    (spread,) = pod(name)["spec"]["topologySpreadConstraints"]
    selectors = [WORKLOADS[name]["spec"]["selector"], budget["spec"]["selector"], spread["labelSelector"]]
    assert [selector["matchLabels"] for selector in selectors] == [labels] * 3
    assert service["spec"]["selector"] == labels
    assert WORKLOADS[name]["spec"]["replicas"] > budget["spec"]["maxUnavailable"]


@pytest.mark.parametrize("name", PORTS)
def test_whoever_is_told_to_stop_has_time_to_end_well(name: str) -> None:
    longest = float(SETTINGS["DRIPLINE_DRAIN_SECONDS"]) + GRACE_SECONDS + STOP_SECONDS
    assert pod(name)["spec"]["terminationGracePeriodSeconds"] > longest + 10


@pytest.mark.parametrize("name", WORKLOADS)
def test_nobody_may_more_than_he_needs(name: str) -> None:
    user = re.search(r"^USER (\d+):(\d+)$", (HOUSE / "deploy" / "Dockerfile").read_text(), re.MULTILINE)
    assert user
    secured = pod(name)["spec"]["securityContext"]
    assert (secured["runAsNonRoot"], secured["runAsUser"], secured["runAsGroup"]) == (True, int(user[1]), int(user[2]))
    assert secured["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container(name)["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod(name)["spec"]["automountServiceAccountToken"] is False
    assert container(name)["resources"].keys() == {"requests", "limits"}
    assert container(name)["image"] == "dripline"


def test_all_that_must_be_set_has_its_place_and_what_is_set_is_a_setting() -> None:
    places = {*SETTINGS, *SECRET}
    required = {
        f"DRIPLINE_{name.upper()}"
        for settings in (ServeSettings, MailerSettings)
        for name, field in settings.model_fields.items()
        if field.is_required()
    }
    own = {entry["name"] for name in WORKLOADS for entry in container(name).get("env", ())}
    assert required | {"DRIPLINE_API_KEY", "DRIPLINE_CONSOLE_PASSWORD"} <= places
    assert {name for name in places | own if name.startswith("DRIPLINE_")} - known() - ELSEWHERE == set()
    assert not any(SECRET.values()), "an example holds no secret: an empty one is refused"


def test_the_spool_is_told_where_its_volume_is_and_fits_in() -> None:
    env = {entry["name"]: entry.get("value") for entry in container("ingest")["env"]}
    mounts = {mount["name"]: mount["mountPath"] for mount in container("ingest")["volumeMounts"]}
    (claim,) = WORKLOADS["ingest"]["spec"]["volumeClaimTemplates"]
    assert env["DRIPLINE_SPOOL_DIR"] == mounts[claim["metadata"]["name"]]
    room = claim["spec"]["resources"]["requests"]["storage"]
    assert int(env["DRIPLINE_SPOOL_BYTES"] or 0) < int(room.removesuffix("Gi")) << 30


def test_the_ingress_sends_each_path_to_who_owns_it() -> None:
    (ingress,) = yaml.safe_load_all((KUBERNETES / "example" / "ingress.yaml").read_text())
    (rule,) = ingress["spec"]["rules"]
    owners: dict[str, list[str]] = {}
    for path in rule["http"]["paths"]:
        service = path["backend"]["service"]
        assert service["port"]["number"] == PORTS[service["name"]]
        owners.setdefault(service["name"], []).append(path["path"])
    assert sorted(owners["ingest"]) == sorted(path.rstrip("/") for path in INGEST_PATHS)
    assert sorted(owners["mailer"]) == sorted(path.rstrip("/") for path in MAILER_PATHS)
    assert owners["console"] == ["/"]


def triggers() -> Iterator[tuple[str, dict[str, str], int]]:
    for scaled in yaml.safe_load_all((KUBERNETES / "autoscaling" / "workers.yaml").read_text()):
        for trigger in scaled["spec"]["triggers"]:
            yield scaled["spec"]["scaleTargetRef"]["name"], trigger["metadata"], scaled["spec"]["maxReplicaCount"]


READ = {"scoring": {wire.EVENTS}, "journeys": {wire.ACTIVITIES}, "mailer": {wire.MESSAGES, wire.ACTIVITIES}}


def test_workers_grow_with_the_lag_of_the_topics_they_read_and_not_beyond_their_partitions() -> None:
    cluster = Cluster("")
    found: dict[str, set[str]] = {}
    for name, trigger, most in triggers():
        assert trigger["consumerGroup"] == cluster.topic(name)
        assert most <= int(SETTINGS["DRIPLINE_KAFKA_PARTITIONS"])
        found.setdefault(name, set()).add(trigger["topic"])
    assert found == {name: {cluster.topic(topic) for topic in topics} for name, topics in READ.items()}


@pytest.mark.parametrize(("name", "topics"), READ.items())
def test_those_are_the_topics_it_reads(name: str, topics: set[str]) -> None:
    main = (HOUSE / "services" / name / "main.py").read_text()
    assert {getattr(wire, constant) for constant in re.findall(r"\bConsumer\((\w+),", main)} == topics
