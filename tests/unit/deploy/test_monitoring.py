"""Alerts and dashboard fit the code: every metric they name is one of ours, and every alert leads to what to do."""

import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import pytest
import yaml
from prometheus_client.metrics import MetricWrapperBase

from dripline.serve import PORTS
from shared import telemetry

HOUSE = Path(__file__).resolve().parents[3]
PROMETHEUS = HOUSE / "deploy" / "prometheus"
RULES = [rule for group in yaml.safe_load((PROMETHEUS / "alerts.yaml").read_text())["groups"] for rule in group["rules"]]
BOARD = json.loads((HOUSE / "deploy" / "grafana" / "dashboards" / "dripline.json").read_text())
TARGETS = [(panel["title"], target["expr"]) for panel in BOARD["panels"] for target in panel.get("targets", ())]
METRICS = {metric._name: metric for metric in vars(telemetry).values() if isinstance(metric, MetricWrapperBase)}
OF_PROMETHEUS = {"le", "component", "instance", "job"}


def metrics_in(expression: str) -> Iterator[tuple[str, set[str]]]:
    """The metrics of ours that an expression names, by their names in the code, each with the labels it is asked by."""
    for name, selector in re.findall(r"\b(dripline_\w+)(\{[^}]*\})?", expression):
        yield re.sub(r"_(bucket|count|sum|total)$", "", name), set(re.findall(r"(\w+)\s*[=!]~?", selector))


def anchors(page: str) -> set[str]:
    """The headings of a page, as links name them."""
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in re.findall(r"^#+ (.*)$", page, re.MULTILINE)}


@pytest.mark.parametrize(("place", "expression"), [*((rule["alert"], rule["expr"]) for rule in RULES), *TARGETS])
def test_every_metric_and_label_asked_for_is_told(place: str, expression: str) -> None:
    for name, labels in metrics_in(expression):
        assert name in METRICS, place
        assert labels <= {*METRICS[name]._labelnames, *OF_PROMETHEUS}, place


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_every_alert_leads_to_a_heading_that_says_what_to_do(rule: dict[str, dict[str, str]]) -> None:
    page, _, anchor = rule["annotations"]["runbook"].partition("#")
    assert anchor in anchors((HOUSE / page).read_text())
    assert rule["labels"]["severity"] in ("page", "ticket")


def test_every_heading_for_an_alarm_has_its_alert() -> None:
    page = (HOUSE / "docs" / "operations.md").read_text()
    alarms = page.split("\n## What to do for each alarm\n")[1].split("\n## ")[0]
    assert anchors(alarms) == {rule["annotations"]["runbook"].partition("#")[2] for rule in RULES}


def test_no_two_panels_share_a_number_or_a_place() -> None:
    panels = BOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert len({(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels}) == len(panels)


def test_prometheus_asks_every_service_on_its_port() -> None:
    (job,) = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())["scrape_configs"]
    assert {name: found["port"] for found in job["dns_sd_configs"] for name in found["names"]} == PORTS


def test_in_kubernetes_pods_are_named_as_the_alerts_name_them() -> None:
    (job,) = yaml.safe_load((PROMETHEUS / "kubernetes.yml").read_text())["scrape_configs"]
    named = {rule.get("target_label"): rule["source_labels"] for rule in job["relabel_configs"]}
    assert named["component"] == ["__meta_kubernetes_pod_label_app_kubernetes_io_component"]
    assert job["job_name"] == "dripline"


@pytest.mark.parametrize(
    "words",
    [["check", "config", "prometheus.yml"], ["test", "rules", "alerts_test.yaml"]],  # Debian's tool knows no kubernetes_sd_configs
    ids=" ".join,
)
def test_prometheus_own_tool_agrees(words: list[str], require_service: Callable[[str, str], NoReturn]) -> None:
    promtool = shutil.which("promtool") or require_service("promtool", "not on PATH; Debian has it in the package prometheus")
    found = subprocess.run([promtool, *words], cwd=PROMETHEUS, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout + found.stderr
