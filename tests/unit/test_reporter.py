"""What a task says about itself: cheap, never backwards, never larger than a page can take."""

from __future__ import annotations

import contextlib
import contextvars
import importlib
import json
import math
import threading
from decimal import Decimal
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import assume, given, settings

import progress
from progress import InvalidReport, TaskCancelled
from progress.options import Options
from progress.record import Record
from progress.reporter import LOG_BACKLOG, NOBODY, Job, Reporter, running
from progress.snapshot import State

JOB = Job(key="t", name="tests.job", exec="e", options=Options())
LARGEST = 4096  # bytes


def job(**options: Any) -> Job:
    return Job(key="t", name="tests.job", exec="e", options=Options(**options))


def shown(reporter: Reporter, state: State = State.PROGRESS, *, staff: bool = False) -> dict[str, Any]:
    """The snapshot that `reporter` makes now."""
    return Record(seq=1, state=state, **reporter.texts(state)).snapshot(staff=staff)


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


# --- Counting ------------------------------------------------------------------------------------------------


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
    reporter.track(iterable)
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


def test_eight_threads_lose_no_step() -> None:
    """8 × 10 000 calls of `advance` count 80 000, from threads that were given the task's context."""
    reporter = Reporter(JOB)
    token = running.set(reporter)
    try:
        contexts = [contextvars.copy_context() for _ in range(8)]
    finally:
        running.reset(token)

    def work() -> None:
        for _ in range(10_000):
            progress.advance()

    threads = [threading.Thread(target=context.run, args=(work,)) for context in contexts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert reporter.current == 80_000


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


def test_rate_is_the_speed_of_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """Units per second, smoothed; unknown before anything happened, kept while nothing happens."""
    now = [100.0]
    module = importlib.import_module("progress.reporter")
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now[0]))
    reporter = Reporter(JOB)
    assert shown(reporter)["rate"] is None
    rates = []
    for speed in (10, 10, 20, 0):
        now[0] += 1
        reporter.advance(speed)
        rates.append(shown(reporter)["rate"])
    assert rates == [10, 10, 13, 13]


# --- Texts -----------------------------------------------------------------------------------------------------

EVIL = st.text(max_size=1000) | st.sampled_from(
    ["\x00" * 1000, "\x7f" * 1000, '"\\' * 1000, "\ud800" * 1000, "\u202e" * 1000, "\N{ROCKET}" * 1000, "é" * 1000]
)


@settings(max_examples=200, deadline=None)
@given(title=EVIL, message=EVIL, unit=EVIL, error=EVIL, private=EVIL, public=EVIL)
def test_snapshot_is_small_and_sound_whatever_the_task_says(
    title: str, message: str, unit: str, error: str, private: str, public: str
) -> None:
    """At most 4 KB in both views, valid JSON, valid UTF-8, and nothing in it that turns the text around it."""
    key = "k" * 200
    widest = Job(
        *(key, error, "e", Options(show_error=True)), parent=key, root=key, worker=message, max_retries=2**31
    )
    reporter = Reporter(widest)
    reporter.update(current=1e-300 / 3, total=1e300 / 3, title=title, message=message, unit=unit)
    try:
        reporter.update(meta={"told": public[:150], "private": private[:150]})
    except InvalidReport:
        assert len(json.dumps([public[:150], private[:150]], ensure_ascii=False)) > 200
    reporter.error = type("É" * 300, (Exception,), {})(error)
    now = 1795231457794222
    record = Record(
        seq=now,
        attempt=10**6,
        run=10**6,
        state="FAILURE",
        control="somebody",
        **dict.fromkeys(("queued_at", "started_at", "updated_at", "finished_at"), now),
        **reporter.texts(State.FAILURE),
    )
    for staff in (False, True):
        text = record.text(staff=staff)
        assert len(text.encode()) <= LARGEST
        assert json.loads(text)["current"] >= 0
        assert not set(text) & {"\u202e", "\x7f", "\x00"}


def test_only_the_private_part_of_meta_is_for_staff() -> None:
    """`meta["private"]` is in the staff view only; the rest is in both."""
    reporter = Reporter(JOB)
    reporter.update(meta={"file": "a.csv", "private": {"path": "/srv/a.csv"}})
    assert shown(reporter)["meta"] == {"file": "a.csv"}
    assert shown(reporter, staff=True)["meta"] == {"file": "a.csv", "private": {"path": "/srv/a.csv"}}
    reporter.update(meta={"file": "b.csv"})
    assert shown(reporter)["meta"] == shown(reporter, staff=True)["meta"] == {"file": "b.csv"}


def itself() -> dict[str, Any]:
    circle: dict[str, Any] = {}
    circle["me"] = circle
    return circle


@pytest.mark.parametrize(
    "meta", [{"x": "y" * 800}, {"x": "\x7f" * 500}, {"x": object()}, {"x": b"bytes"}, ["x"], itself()]
)
def test_meta_that_cannot_be_shown_is_refused_and_changes_nothing(meta: Any) -> None:
    """Too large, not JSON-like, no mapping: the task learns it at once, and what was shown before stays."""
    reporter = Reporter(JOB)
    reporter.update(meta={"x": 1})
    with pytest.raises(InvalidReport, match="meta"):
        reporter.update(meta=meta)
    assert shown(reporter)["meta"] == {"x": 1}


def test_log_lines_are_short_and_few() -> None:
    """A line has 500 characters at most, and of those that nobody has fetched yet the newest 1 000 are kept."""
    reporter = Reporter(JOB)
    for number in range(2 * LOG_BACKLOG):
        reporter.log(f"line {number}")
    reporter.log("x" * 10_000, level="a level that nobody knows")
    reporter.log("zwölf ☃\ud800", level="\ud800")
    assert len(reporter.logs) == LOG_BACKLOG
    assert reporter.logs[0] == ("INFO", f"line {LOG_BACKLOG + 2}")
    (level, text), odd = reporter.logs[-2], reporter.logs[-1]
    assert len(text) <= 500
    assert len(level) <= 12
    assert odd == ("\N{REPLACEMENT CHARACTER}", "zwölf ☃\N{REPLACEMENT CHARACTER}")


@pytest.mark.parametrize("result", [itself(), object(), "\ud800", {"a": {1, 2}}, b"x" * 5000])
def test_any_return_value_is_shown_somehow(result: Any) -> None:
    """An end is never lost because of what the task returned."""
    reporter = Reporter(job(show_result=True))
    reporter.become(State.SUCCESS, result=result)
    assert "result" in shown(reporter, State.SUCCESS)


@given(st.recursive(st.none() | st.text() | st.floats() | st.integers(), lambda inner: st.lists(inner)))
def test_results_stay_small(result: Any) -> None:
    """A result of any size takes at most 400 bytes."""
    assume(result is not None)
    reporter = Reporter(job(show_result=True))
    reporter.become(State.SUCCESS, result=result)
    assert len(reporter.texts(State.SUCCESS)["outcome"].encode()) <= 400 + len('"result":')


# --- Being heard -----------------------------------------------------------------------------------------------


def test_nothing_is_called_until_somebody_listens() -> None:
    """`advance` and `track` only count; the publisher is woken once when it asked to be."""
    woken: list[int] = []
    reporter = Reporter(JOB, lambda: woken.append(1))
    for _ in reporter.track(range(100)):
        reporter.advance()
    assert woken == []
    reporter.attention = True
    for _ in range(100):
        reporter.advance()
    assert woken == [1]


@pytest.mark.parametrize(
    "step",
    [
        lambda reporter: reporter.advance(),
        lambda reporter: reporter.update(message="on"),
        lambda reporter: list(reporter.track("ab")),
    ],
)
def test_wish_to_cancel_is_raised_at_the_next_step(step: Any) -> None:
    """No `except Exception:` in between can swallow it."""
    reporter = Reporter(JOB)
    reporter.ask_cancel()
    with pytest.raises(TaskCancelled), contextlib.suppress(Exception):
        step(reporter)


def test_task_that_cannot_be_cancelled_is_not_interrupted() -> None:
    """With `cancellable=False` the wish is not raised."""
    reporter = Reporter(job(cancellable=False))
    reporter.ask_cancel()
    for _ in reporter.track("abc"):
        reporter.advance()
    assert reporter.current == 3


def test_ended_task_is_not_cancelled_any_more() -> None:
    """What runs after the end, in a handler or a thread, is not interrupted."""
    reporter = Reporter(JOB)
    reporter.become(State.SUCCESS)
    reporter.ask_cancel()
    reporter.advance()
    assert reporter.current == 1


# --- Outside of a task -----------------------------------------------------------------------------------------


def test_outside_of_a_task_every_call_does_nothing() -> None:
    """The same function runs in a shell, a test or a request, and leaves no trace."""
    assert progress.reporter() is NOBODY
    progress.advance(3)
    progress.update(current=5, total=10, message="x", meta={"x": "y" * 10_000})
    progress.log("line")
    progress.reset()
    assert list(progress.track(range(3))) == [0, 1, 2]
    assert (NOBODY.current, NOBODY.total, list(NOBODY.logs), NOBODY.changes) == (0, None, [], 0)


def test_track_outside_of_a_task_costs_what_iter_costs() -> None:
    """It is the iterable's own iterator: no layer in between."""
    items = [1, 2]
    assert type(progress.track(items)) is type(iter(items))


def test_functions_act_on_the_running_task_of_their_context() -> None:
    """Two tasks in one process do not meet."""
    reporters = [Reporter(JOB), Reporter(JOB)]

    def work(reporter: Reporter, steps: int) -> None:
        running.set(reporter)
        for _ in progress.track(range(steps)):
            progress.log("line")
        progress.update(message=f"{steps} steps")

    for place, reporter in enumerate(reporters, 1):
        contextvars.copy_context().run(work, reporter, place)
    assert [(each.current, len(each.logs)) for each in reporters] == [(1, 1), (2, 2)]
    assert [shown(each)["message"] for each in reporters] == ["1 steps", "2 steps"]
    assert progress.reporter() is NOBODY


def test_cleaning_up_after_a_cancel_may_go_on_reporting() -> None:
    """The wish is raised once on the way out; a `finally` that reports is not interrupted."""
    reporter = Reporter(JOB)
    reporter.ask_cancel()

    def body() -> None:
        try:
            reporter.advance()
        finally:
            reporter.update(message="Tidying up")
            reporter.advance()

    with pytest.raises(TaskCancelled):
        body()
    assert "Tidying up" in reporter.texts(State.PROGRESS)["body"]


def test_log_and_reset_never_raise() -> None:
    """A logging handler is no place to be interrupted."""
    reporter = Reporter(JOB)
    reporter.ask_cancel()
    reporter.log("still here")
    reporter.reset()
    with pytest.raises(TaskCancelled):
        reporter.advance()


def test_wish_to_cancel_is_raised_inside_the_body_only() -> None:
    """What Celery calls around the body (on_success, on_failure) may report; an exception there hurts the worker."""
    reporter = Reporter(JOB)
    reporter.in_body = False
    reporter.ask_cancel()
    reporter.advance()
    reporter.update(message="after the body")
    assert reporter.current == 1
