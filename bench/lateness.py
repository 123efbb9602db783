"""How late steps were shown: the one arithmetic of all scenarios that tell a latency. Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence

from .crowd import Sighting


def rising(sightings: Iterable[Sighting]) -> list[Sighting]:
    """Those that show a newer step than all before them, of one task at one watcher, in the order of arrival."""
    found, newest = [], 0
    for sighting in sightings:
        if sighting.current > newest:
            newest = sighting.current
            found.append(sighting)
    return found


def lateness(steps: Sequence[tuple[int, int]], sightings: Iterable[Sighting], *, of: str = "the task") -> list[int]:
    """ns from the moment of each step until one watcher was shown that step **or a newer one**.

    `steps` are pairs of a step and its moment, of one task, whose name is `of`. Give the moment when a step was due
    if a late sender is to count, and the one when it was taken if not. What is overtaken on its way is as late as
    what overtook it, so that leaving out does not look quick. Raises `RuntimeError` if a step was never shown.
    """
    shown = rising(sightings)
    reached = [sighting.current for sighting in shown]
    newest = reached[-1] if reached else 0
    if lost := sum(step > newest for step, _ in steps):
        raise RuntimeError(f"{lost} of {len(steps)} steps of {of} were never shown.")
    return [shown[bisect_left(reached, step)].at - moment for step, moment in steps]


def percentile(values: Iterable[int], percent: int) -> int:
    """The lowest of `values` that so many percent of them do not exceed: always one of them, none in between.

    99 % of 100 to 199 values is the second highest; of fewer it is the highest. There is at least one value.
    """
    ranked = sorted(values)
    return ranked[max(-(-percent * len(ranked) // 100), 1) - 1]  # rounded up, in whole numbers
