"""``key=value`` on a command line: it becomes what the task's signature says, or an error says what to write."""

import datetime as dt
import enum
import uuid
from decimal import Decimal
from typing import Annotated, Any, Literal

import pytest

from progress import StoredFile
from progress.management.arguments import WrongArgument, arguments_of


class Colour(enum.Enum):
    RED = "#f00"


def job(
    rows: int,
    share: float = 0.5,
    dry: bool = False,
    name: str = "",
    price: Decimal | None = None,
    day: dt.date | None = None,
    at: dt.datetime | None = None,
    key: uuid.UUID | None = None,
    kind: Literal["full", "quick"] = "full",
    colour: Colour = Colour.RED,
    ids: list[int] | None = None,
    free=None,
) -> None: ...


@pytest.mark.parametrize(
    ("pair", "expected"),
    [
        ("rows=12", 12),
        ("share=0.25", 0.25),
        ("dry=yes", True),
        ("dry=False", False),
        ("name=true", "true"),
        ("name=a=b", "a=b"),
        ("name=", ""),
        ("price=9.90", Decimal("9.90")),
        ("price=none", None),
        ("day=2026-11-20", dt.date(2026, 11, 20)),
        ("at=2026-11-20T13:30:00+00:00", dt.datetime(2026, 11, 20, 13, 30, tzinfo=dt.UTC)),
        ("key=6f1c0e9a-7f0e-4f43-8d3c-0a4a2d0c9b11", uuid.UUID("6f1c0e9a-7f0e-4f43-8d3c-0a4a2d0c9b11")),
        ("kind=quick", "quick"),
        ("colour=RED", "#f00"),
        ("ids=[1, 2]", [1, 2]),
        ("free=5", 5),
        ("free=text", "text"),
    ],
)
def test_a_value_becomes_what_the_type_hint_says(pair, expected):
    """Text is converted by the hint; without one, numbers and JSON are taken as such and the rest is text."""
    name = pair.partition("=")[0]
    given = arguments_of(job, ["rows=1", pair] if name != "rows" else [pair])
    assert given[name] == expected
    assert type(given[name]) is type(expected)


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        (["rows=many"], "rows must be int, got 'many'"),
        (["rows=1.5"], "rows must be int, got '1.5'"),
        (["rows=1", "dry=maybe"], "dry must be bool, got 'maybe'"),
        (["rows=1", "day=20.11.2026"], r"day must be datetime\.date \| None, got '20\.11\.2026'"),
        (["rows=1", "price=cheap"], "price must be .*Decimal.*, got 'cheap'"),
        (["rows=1", "kind=slow"], "kind must be one of full, quick, got 'slow'"),
        (["rows=1", "colour=BLUE"], "colour must be one of RED, got 'BLUE'"),
        (["rows=1", "ids=1,2"], r"ids must be list\[int\] \| None, got '1,2'"),
        (["rows=1", "rows=2"], "rows is given twice"),
        (["rows"], "Expected key=value, got 'rows'"),
        (["rows=1", "lines=2"], "no argument 'lines'; it takes: rows, share"),
        ([], "also needs: rows=…"),
    ],
)
def test_what_does_not_fit_is_an_error_that_says_what_would(pairs, message):
    """Wrong, doubled, unknown and missing arguments: what was expected, and what came."""
    with pytest.raises(WrongArgument, match=message):
        arguments_of(job, pairs)


def test_a_task_that_takes_anything_is_given_anything():
    """With ``**options`` in the signature, every name is accepted."""

    def anything(**options: Any) -> None: ...

    assert arguments_of(anything, ["a=1", "b=x"]) == {"a": 1, "b": "x"}


def test_a_hint_with_more_to_say_is_the_hint():
    """What ``Annotated`` adds is for forms; errors name the type alone."""

    def annotated(count: Annotated[int, "in cents"], file: Annotated[str, StoredFile()] = "") -> None: ...

    assert arguments_of(annotated, ["count=5", "file=a.csv"]) == {"count": 5, "file": "a.csv"}
    with pytest.raises(WrongArgument, match="count must be int, got 'five'"):
        arguments_of(annotated, ["count=five"])


def test_a_hint_for_type_checkers_alone_costs_only_its_own_argument():
    """The others are converted; that one is taken as it looks."""

    def partly(day: "dt.date", other: "Missing", more: "Missing" = None) -> None: ...  # type: ignore[name-defined]  # noqa: F821

    assert arguments_of(partly, ["day=2026-11-20", "other=5"]) == {"day": dt.date(2026, 11, 20), "other": 5}
