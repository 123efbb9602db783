"""What a task says about itself: cheap, and never larger than a page can take."""

from __future__ import annotations

import contextlib
import contextvars
import json
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


# --- Texts -----------------------------------------------------------------------------------------------------

EVIL = st.text(max_size=1000) | st.sampled_from(
    ["\x00" * 1000, "\x7f" * 1000, '"\\' * 1000, "\ud800" * 1000, "\u202e" * 1000, "\N{ROCKET}" * 1000, "é" * 1000]
)


@settings(max_examples=200)
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


def test_what_is_refused_has_changed_nothing() -> None:
    """A call is taken as a whole or not at all."""
    reporter = Reporter(JOB)
    reporter.update(current=1, total=2, message="a", meta={"x": 1})
    before = reporter.texts(State.PROGRESS)
    for wrong in ({"current": "x"}, {"total": "x"}, {"meta": {"x": object()}}):
        with pytest.raises(InvalidReport):
            reporter.update(**{"current": 5, "total": 9, "message": "b", "title": "c", "meta": {"y": 1}, **wrong})
    assert reporter.texts(State.PROGRESS) == before


def test_meta_of_none_keeps_what_is_there() -> None:
    """As every argument that is not given."""
    reporter = Reporter(JOB)
    reporter.update(meta={"x": 1, "private": {"y": 2}})
    reporter.update(meta=None, message=None, title=None, current=None, unit=None)
    assert shown(reporter, staff=True)["meta"] == {"x": 1, "private": {"y": 2}}
    reporter.update(meta={})
    assert shown(reporter, staff=True)["meta"] == {}


class Wordless:
    def __str__(self) -> str:
        raise RuntimeError("no text for you")


def test_text_that_cannot_be_made_costs_the_text_only() -> None:
    """Somebody's `__str__` is no reason for a task to fail."""
    reporter = Reporter(JOB)
    reporter.update(message=Wordless(), title=Wordless(), unit=Wordless())  # type: ignore[arg-type]
    reporter.log(Wordless())  # type: ignore[arg-type]
    assert shown(reporter)["message"] == reporter.logs[0][1] == "(Wordless without a text)"


def test_limit_of_silence_is_told_only_when_it_is_set() -> None:
    """`stall_after` is for pages: how long without a sign of life is too long."""
    assert "stall_after" not in shown(Reporter(JOB))
    assert shown(Reporter(job(stall_after=90)))["stall_after"] == 90


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


def test_return_value_without_an_end_is_hidden_and_the_end_is_told() -> None:
    """Nobody can look through all of it for secrets."""
    reporter = Reporter(job(show_result=True))
    reporter.become(State.SUCCESS, result=itself())
    told = shown(reporter, State.SUCCESS)
    assert told["state"] == "SUCCESS"
    assert "result" not in told


@pytest.mark.parametrize("result", [object(), "\ud800", {"a": {1, 2}}, b"x" * 5000])
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
        reporter.log("on")
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
