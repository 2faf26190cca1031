"""The schemas in docs/asyncapi.yaml are those of the code: `python -m tests.asyncapi` writes them down anew."""

from pathlib import Path
from typing import Any

import msgspec
import yaml

from shared import wire
from shared.parcel import Parcel

DOCUMENT = Path(__file__).parents[1] / "docs" / "asyncapi.yaml"
SHAPES = (wire.Event, Parcel, wire.Activity, wire.Send, wire.Withdraw, wire.Rejected, wire.Erasure)
BEGINS = "  schemas:\n"


def schemas() -> dict[str, Any]:
    """Every shape on the topics, by its name."""
    _, found = msgspec.json.schema_components(SHAPES, ref_template="#/components/schemas/{name}")
    return dict(found)


def main() -> None:
    head, _, _ = DOCUMENT.read_text().partition(BEGINS)
    text = yaml.safe_dump(schemas(), sort_keys=True, allow_unicode=True, width=140)
    DOCUMENT.write_text(head + BEGINS + "".join(f"    {line}\n" for line in text.splitlines()))


if __name__ == "__main__":
    main()
