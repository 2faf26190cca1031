"""The Kubernetes manifests as Python sees them."""

from pathlib import Path
from typing import Any

import yaml

KUBERNETES = Path(__file__).resolve().parents[3] / "deploy" / "kubernetes"


def of_kind(kind: str) -> list[dict[str, Any]]:
    """The documents of a kind in the base."""
    paths = sorted((KUBERNETES / "base").glob("*.yaml"))
    return [found for path in paths for found in yaml.safe_load_all(path.read_text()) if found.get("kind") == kind]


def settings_file(name: str) -> dict[str, str]:
    """The settings in a file of the base."""
    lines = (KUBERNETES / "base" / name).read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
