"""Repetitions that take turns, and what came of them."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of some repetitions, with the lowest and the highest."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: list[float]) -> Spread:
        """The spread of `values`."""
        return cls(statistics.median(values), min(values), max(values))


def in_turn(runs: Mapping[str, Callable[[], float]], repetitions: int) -> dict[str, list[float]]:
    """Call every run once per repetition, in turn, so that a busy moment of the machine hits all alike."""
    results: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repetitions):
        for name, run in runs.items():
            results[name].append(run())
    return results
