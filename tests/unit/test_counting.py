"""How a task counts: steps, loops and numbers of all kinds; and what is shown never goes back."""

from __future__ import annotations

import importlib
import math
from collections.abc import AsyncIterator
from decimal import Decimal
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

from progress import InvalidReport, TaskCancelled
from progress.options import Options
from progress.record import Record
from progress.reporter import NOBODY, Job, Reporter
from progress.snapshot import State

JOB = Job(key="t", name="tests.job", exec="e", options=Options())


def shown(reporter: Reporter, state: State = State.PROGRESS) -> dict[str, Any]:
    """The snapshot that `reporter` makes now."""
    return Record(seq=1, state=state, **reporter.texts(state)).snapshot()


class NumpyLike:
    """Converts to a float and is none, as numpy's scalars are."""

    def __init__(self, value: float) -> None:
        self.value = value

    def __float__(self) -> float:
        return float(self.value)


class Array:
    """Several numbers, as numpy has them."""

    def __float__(self) -> float:
        raise TypeError("only length-1 arrays can be converted")


# --- Loops ---------------------------------------------------------------------------------------------------


def test_steps_of_a_loop_are_counted_when_the_next_one_begins() -> None:
    """`track` counts what is done, not what has begun."""
    reporter, seen = Reporter(JOB), []
    for _ in reporter.track(["a", "b", "c"]):
        seen.append(reporter.current)
    assert seen == [0, 1, 2]
    assert (reporter.current, reporter.total) == (3, 3)


def test_loop_without_a_length_has_no_total() -> None:
    """A generator is shown as indeterminate, unless the task knows better."""
    unknown, known = Reporter(JOB), Reporter(JOB)
    assert list(unknown.track(iter("abc"))) == list(known.track(iter("abc"), total=3))
    assert (shown(unknown)["total"], shown(known)["total"]) == (None, 3)
    assert (shown(unknown)["fraction"], shown(unknown)["current"]) == (None, 3)


@pytest.mark.parametrize("iterable", [range(2**70), iter([]), {}])
def test_no_length_is_no_reason_to_fail(iterable: Any) -> None:
    """Lengths that Python cannot tell, and empty things, are simply not known."""
    reporter = Reporter(JOB)
    next(reporter.track(iterable), None)
    assert reporter.changes == 1
    assert shown(reporter)["total"] is None


def test_loop_that_is_left_early_stays_where_it_was() -> None:
    """`break` loses no step that was done."""
    reporter = Reporter(JOB)
    for step in reporter.track(range(10)):
        if step == 4:
            break
    assert reporter.current == 4


def test_second_loop_goes_on_from_where_the_first_ended() -> None:
    """Two loops in a row count as one of both lengths; after a reset the second begins again at zero."""
    reporter = Reporter(JOB)
    list(reporter.track(range(3)))
    list(reporter.track(range(2)))
    assert (reporter.current, reporter.total) == (5, 5)
    reporter.reset()
    list(reporter.track(range(2)))
    assert (reporter.current, reporter.total) == (2, 2)


def test_loop_after_a_retry_begins_where_the_last_attempt_stopped() -> None:
    """`initial` is done already: the length of the rest is added to it; a total that is given is the whole."""
    sized, told, unsized = Reporter(JOB), Reporter(JOB), Reporter(JOB)
    loops = [
        sized.track(["c", "d"], initial=2),
        told.track(iter("cd"), total=4, initial=2),
        unsized.track(iter("cd"), initial=2),
    ]
    assert [next(loop) for loop in loops] == ["c"] * 3
    assert [(each.current, each.total) for each in (sized, told, unsized)] == [(2, 4), (2, 4), (2, None)]
    assert [list(loop) for loop in loops] == [["d"]] * 3
    assert [each.current for each in (sized, told, unsized)] == [4, 4, 4]


@pytest.mark.parametrize("initial", ["2", None, [2]])
def test_beginning_that_is_no_number_is_refused_before_the_loop(initial: Any) -> None:
    """At the call, not at the first step."""
    with pytest.raises(InvalidReport, match="initial must be a number, got"):
        Reporter(JOB).track("ab", initial=initial)


def test_what_was_done_before_does_not_make_the_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    """A million rows of an earlier attempt were not done in the first second of this one."""
    now = [100.0]
    module = importlib.import_module("progress.stages")
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now[0]))
    reporter = Reporter(JOB)
    loop = reporter.track(range(100), initial=1_000_000)
    next(loop)
    now[0] += 1
    assert shown(reporter)["rate"] is None
    next(loop), next(loop)
    assert (shown(reporter)["current"], shown(reporter)["rate"]) == (1_000_002, 2)


async def numbers(count: int) -> AsyncIterator[int]:
    """What can be walked by `async for` only."""
    for number in range(count):
        yield number


class Sized:
    """Async, and of a known length."""

    def __len__(self) -> int:
        return 3

    def __aiter__(self) -> AsyncIterator[int]:
        return numbers(3)


async def test_async_loop_is_counted_like_any_other() -> None:
    """Each item when the next one is asked for; `break` loses no step; lengths and totals as elsewhere."""
    reporter, seen = Reporter(JOB), []
    async for _ in reporter.track(numbers(3), total=10, initial=4, unit="pages"):
        seen.append(reporter.current)
    assert (seen, reporter.current, reporter.total) == ([4, 5, 6], 7, 10)
    reporter.reset()
    steps = reporter.track(Sized())
    async for step in steps:
        if step == 1:
            break
    assert (reporter.current, reporter.total) == (1, 3)
    await steps.aclose()  # type: ignore[attr-defined]


@pytest.mark.parametrize(("stop_at", "expected"), [(None, []), (0, [0]), (1, [0, 1])])
async def test_async_loop_can_be_cancelled(stop_at: int | None, expected: list[int]) -> None:
    """The wish is raised before the first item, or between two."""
    reporter, seen = Reporter(JOB), []
    if stop_at is None:
        reporter.ask_cancel()

    async def walk() -> None:
        async for step in reporter.track(numbers(5)):
            seen.append(step)
            if step == stop_at:
                reporter.ask_cancel()

    with pytest.raises(TaskCancelled):
        await walk()
    assert seen == expected


def test_what_can_be_walked_either_way_is_walked_plainly() -> None:
    """A QuerySet has both; `for` is what `track` is written for."""

    class Either(list[int]):
        def __aiter__(self) -> AsyncIterator[int]:
            raise AssertionError

    for each in (Reporter(JOB), NOBODY):
        assert list(each.track(Either([1, 2]))) == [1, 2]


def test_total_that_the_task_has_set_is_kept_until_it_is_reached() -> None:
    """Parts of a known whole count towards it; what comes after it is added."""
    reporter = Reporter(JOB)
    reporter.update(total=5)
    list(reporter.track(iter("abc")))
    list(reporter.track("de"))
    assert (reporter.current, reporter.total) == (5, 5)
    list(reporter.track("fgh"))
    assert (reporter.current, reporter.total) == (8, 8)
    reporter.update(total=None)
    list(reporter.track("i"))
    assert (reporter.current, reporter.total) == (9, 9)


def test_loop_in_a_loop_counts_both() -> None:
    """What the inner one has to do is added to what the outer one has."""
    reporter = Reporter(JOB)
    for _ in reporter.track(range(3)):
        list(reporter.track(range(2)))
    assert (reporter.current, reporter.total) == (9, 9)


def test_loop_that_never_begins_changes_nothing() -> None:
    """Calling `track` is not yet counting."""
    reporter = Reporter(JOB)
    reporter.track(range(10))
    assert (reporter.total, reporter.changes) == (None, 0)
    list(reporter.track(range(2)))
    assert (reporter.current, reporter.total) == (2, 2)


# --- Numbers of all kinds --------------------------------------------------------------------------------------


@pytest.mark.parametrize("total", [math.nan, math.inf, -math.inf, 0, -5, Decimal("NaN"), Decimal("sNaN"), 10**400])
def test_total_that_means_nothing_is_unknown(total: Any) -> None:
    """NaN, infinities, zero and negative totals are shown as indeterminate, and fail nothing."""
    reporter = Reporter(JOB)
    reporter.update(current=3, total=total)
    assert list(reporter.track("ab", total=total)) == ["a", "b"]
    assert (shown(reporter)["total"], shown(reporter)["fraction"]) == (None, None)


@pytest.mark.parametrize("number", [5, 5.0, Decimal(5), Fraction(5), NumpyLike(5), True + 4])
def test_numbers_of_all_kinds_are_taken(number: Any) -> None:
    """What is a number to Python is one here, and whole ones are shown as such."""
    reporter = Reporter(JOB)
    reporter.update(current=number, total=NumpyLike(10))
    reporter.advance(number)
    assert (shown(reporter)["current"], shown(reporter)["total"]) == (10, 10)
    assert isinstance(shown(reporter)["current"], int)


@pytest.mark.parametrize("number", ["5", None, [5], Array(), 1j])
def test_what_is_no_number_is_refused_at_once(number: Any) -> None:
    """The mistake is shown where it is made: expected, got, what to do."""
    reporter = Reporter(JOB)
    with pytest.raises(InvalidReport, match="number, got"):
        reporter.advance(number)
    assert reporter.current == 0


@given(st.lists(st.floats() | st.integers(), min_size=1), st.floats() | st.integers() | st.none())
def test_any_numbers_make_a_snapshot(steps: list[float], total: float | None) -> None:
    """Nothing that a task can count with costs it its bar."""
    reporter = Reporter(JOB)
    reporter.update(total=total)
    for step in steps:
        reporter.advance(step)
        snapshot = shown(reporter)
        assert snapshot["current"] >= 0
        assert snapshot["fraction"] is None or 0 <= snapshot["fraction"] < 1


# --- Never backwards -------------------------------------------------------------------------------------------


@given(st.lists(st.integers(-5, 50)), st.lists(st.sampled_from([None, 10, 20, 40]), min_size=1))
def test_what_is_shown_never_goes_back(steps: list[int], totals: list[int | None]) -> None:
    """Within an attempt neither `current` nor `fraction` falls, whatever the task sets."""
    reporter, reached, share = Reporter(JOB), 0, 0.0
    for place, current in enumerate(steps):
        reporter.update(current=current, total=totals[place % len(totals)])
        snapshot = shown(reporter)
        assert snapshot["current"] >= reached
        reached = snapshot["current"]
        if snapshot["fraction"] is not None:
            assert snapshot["fraction"] >= share
            share = snapshot["fraction"]


def test_reset_is_the_way_back() -> None:
    """After `reset()` the bar begins again at zero, with an unknown total."""
    reporter = Reporter(JOB)
    reporter.update(current=8, total=10)
    assert shown(reporter)["fraction"] == 0.8
    reporter.reset()
    assert (shown(reporter)["current"], shown(reporter)["total"], shown(reporter)["fraction"]) == (0, None, None)
    reporter.update(current=1, total=10)
    assert shown(reporter)["fraction"] == 0.1


def test_only_success_is_the_whole() -> None:
    """A loop that is done is not a task that is done."""
    reporter = Reporter(JOB)
    reporter.update(current=1_000_000, total=1_000_000)
    assert shown(reporter)["fraction"] < 1
    assert shown(reporter, State.SUCCESS)["fraction"] == 1
    assert shown(reporter, State.FAILURE)["fraction"] < 1


def test_rate_of_a_burst_that_is_over_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who goes on talking and does not count has no rate: not 5 s after three more were due. It comes back."""
    now = [100.0]
    monkeypatch.setattr(importlib.import_module("progress.stages"), "time", SimpleNamespace(monotonic=lambda: now[0]))
    reporter = Reporter(JOB)
    now[0] += 1
    reporter.advance(10)
    assert shown(reporter)["rate"] == 10
    now[0] += 5.2
    assert shown(reporter)["rate"] == 10
    now[0] += 0.2
    assert shown(reporter)["rate"] is None
    now[0] += 1
    reporter.advance(10)
    assert shown(reporter)["rate"] is not None


def test_rate_is_the_speed_of_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """Units per second, smoothed; unknown before anything happened, kept for a while in which nothing happens."""
    now = [100.0]
    module = importlib.import_module("progress.stages")
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now[0]))
    reporter = Reporter(JOB)
    assert shown(reporter)["rate"] is None
    rates = []
    for speed in (10, 10, 20, 0):
        now[0] += 1
        reporter.advance(speed)
        rates.append(shown(reporter)["rate"])
    assert rates == [10, 10, 13, 13]
