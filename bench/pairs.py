"""Two things measured in turn, so that what the machine does meanwhile touches both alike; the ratio is what counts."""

import statistics
from collections.abc import Callable
from dataclasses import dataclass

PAIRS = 5
"""Alternating rounds a row; the first of each side is thrown away as warm-up."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table: ours beside the floor, and their ratio's median and spread over the pairs."""

    name: str
    ours: float
    floor: float
    unit: str
    ratio: float
    low: float
    high: float
    target: float | None = None

    def __str__(self) -> str:
        verdict = "" if self.target is None else f"  target {self.target:.2f} {'met' if self.ratio >= self.target else 'MISSED'}"
        spread = f"{self.ratio:>6.2f} ({self.low:.2f}-{self.high:.2f})"
        return f"{self.name:<46}{self.ours:>12,.0f}{self.floor:>12,.0f} {self.unit:<10}{spread}{verdict}"


def paired(
    name: str, ours: Callable[[], float], floor: Callable[[], float], unit: str, target: float | None = None, pairs: int = PAIRS
) -> Row:
    """Measure both in turn; higher is better."""
    ours()
    floor()
    measured = [(ours(), floor()) for _ in range(pairs)]
    ratios = [mine / bare for mine, bare in measured]
    return Row(
        name,
        statistics.median(mine for mine, _ in measured),
        statistics.median(bare for _, bare in measured),
        unit,
        statistics.median(ratios),
        min(ratios),
        max(ratios),
        target,
    )


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure that stands alone, against its limit; lower is better unless `at_least`."""

    name: str
    value: float
    unit: str
    limit: float
    at_least: bool = False
    note: str = ""

    def __str__(self) -> str:
        met = self.value >= self.limit if self.at_least else self.value <= self.limit
        sign = ">=" if self.at_least else "<="
        return f"{self.name:<46}{self.value:>12,.1f} {self.unit:<22}target {sign} {self.limit:,g} {'met' if met else 'MISSED'}  {self.note}"
