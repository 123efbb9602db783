"""What a scenario found: one value per repetition of each side and column, and how that stands to its bars."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

Values = list[float]  # one per repetition
Rows = dict[str, dict[str, Values]]  # by side, then by column


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of some repetitions, with the lowest and the highest."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """The spread of `values`, of which there is at least one."""
        return cls(statistics.median(values), min(values), max(values))


@dataclass(frozen=True, slots=True)
class Column:
    """One figure that is told of each side. `what` says in a phrase how it was counted."""

    name: str
    unit: str
    what: str = ""
    more_is_better: bool = False


@dataclass(frozen=True, slots=True)
class Bar:
    """What has to be reached. `values` are ratios of pairs of one repetition, or plain figures; the median counts.

    `unit` is "×" for a ratio. With `why` a missed bar says what the limit is made of, with `near` how far it is from
    that: a sentence with figures of the same run.
    """

    text: str
    values: Values
    limit: float
    sense: Literal["at most", "at least"] = "at most"
    unit: str = "×"
    why: str = ""
    near: str = ""


@dataclass(slots=True)
class Outcome:
    """All that is told of one scenario. Texts are Markdown."""

    title: str
    how: str  # what was done, in a paragraph or two
    columns: list[Column]
    rows: Rows
    bars: list[Bar]
    plot: str = ""  # the name of the column that the picture shows; "" = no picture
    ours: list[str] = field(default_factory=list)  # the sides that are ours; none named = all of them
    missing: dict[str, str] = field(default_factory=dict)  # side → why it could not take part
    notes: list[str] = field(default_factory=list)  # what else was seen: limits, profiles, what the figure is not


def paired(rows: Rows, column: str, ours: str, theirs: str) -> Values:
    """`ours` divided by `theirs`, repetition by repetition."""
    pairs = zip(rows[ours][column], rows[theirs][column], strict=True)
    return [one / other for one, other in pairs]


def times(rows: Rows, column: str, ours: str, theirs: str) -> str:
    """The median of `paired`, as words of a sentence: "1.31 × theirs"."""
    return f"{statistics.median(paired(rows, column, ours, theirs)):.2f} × {theirs}"


def transposed(repetitions: Sequence[Mapping[str, float]]) -> dict[str, Values]:
    """What repetitions of one side found, by column."""
    return {column: [float(found[column]) for found in repetitions] for column in repetitions[0]}
