"""The recorders do for a task what those of celery-progress do, and report besides."""

from __future__ import annotations

import threading
from collections.abc import Callable
from decimal import Decimal
from typing import Any
from unittest.mock import patch

import celery_progress.backend
import pytest
from celery import chain
from celery.exceptions import Ignore

from progress import celery_progress as ours
from progress.celery_progress import ProgressRecorder
from progress.testing import Told, collect
from tests.unit.test_hooks import App, fresh_app

Body = Callable[[Any], Any]
THEIRS = celery_progress.backend.ProgressRecorder


class OldRecorder(THEIRS):  # type: ignore[misc, valid-type]
    """Theirs up to version 0.4, which still had `stop_task`; what it tells the backend is from there."""

    def stop_task(self, current: Any, total: Any, exc: Any) -> tuple[str, dict[str, Any]]:
        meta = {"pending": False, "current": current, "total": total, "percent": 100.0}
        meta |= {"exc_message": str(exc), "exc_type": str(type(exc))}
        self.task.update_state(state="FAILURE", meta=meta)
        return "FAILURE", meta


# --- Bodies as sites have them -----------------------------------------------------------------------------


def counts(recorder: Any) -> Any:
    for number in range(4):
        recorder.set_progress(number + 1, 4, description=f"Row {number}")
    return "done"


def counts_decimals(recorder: Any) -> Any:
    return [recorder.set_progress(Decimal("0.5"), Decimal(3)), recorder.set_progress(1, 3)]


def increments(recorder: Any) -> Any:
    recorder.increment_progress()
    recorder.increment_progress(by=3, description="More")
    recorder.increment_progress(2)
    return (recorder.current, recorder.total, recorder.description)


def knows_no_total(recorder: Any) -> Any:
    return [recorder.set_progress(5, 0), recorder.increment_progress(5)]


def counts_texts(recorder: Any) -> Any:
    return recorder.set_progress("3", 4)


def has_two_phases(recorder: Any) -> Any:
    recorder.set_progress(100, 100, "Reading")
    recorder.set_progress(0, 50, "Writing")
    recorder.set_progress(50, 50)


def forgets_the_total(recorder: Any) -> Any:
    recorder.set_progress(1, None)


def fails(recorder: Any) -> Any:
    recorder.set_progress(1, 4)
    raise LookupError("no")


def stops_and_leaves(recorder: Any) -> Any:
    recorder.set_progress(1, 4)
    recorder.stop_task(2, 4, ValueError("bad row"))
    raise Ignore


def stops_and_returns(recorder: Any) -> Any:
    told = recorder.stop_task(2, 4, "bad row")
    recorder.set_progress(3, 4)
    return told


BODIES = [
    *[counts, counts_decimals, increments, knows_no_total, counts_texts, has_two_phases],
    *[fails, stops_and_leaves, stops_and_returns],
]


def run(body: Body, recorder: Any, app: App | None = None) -> tuple[Told, list[Any], Any]:
    """What was told, what the result backend was told, and how the task ended."""
    app = app or fresh_app()
    stored: list[Any] = []
    kind = type(app.backend)  # each thread has an instance of its own
    plain = kind.store_result

    def store_result(self: Any, task_id: str, result: Any, state: str, **kwargs: Any) -> Any:
        stored.append((state, result))
        return plain(self, task_id, result, state, **kwargs)

    @app.task(bind=True, name=f"tests.{body.__name__}")
    def task(self: Any) -> Any:
        return body(recorder(self))

    with patch.object(kind, "store_result", store_result):
        told = collect(task)
    try:
        ended = told.get()
    except Exception as error:
        ended = repr(error)
    return told, stored, ended


# --- As theirs ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", BODIES, ids=lambda body: body.__name__)
def test_the_task_and_its_backend_see_no_difference(body: Body) -> None:
    """The same states and metas are stored in the same order, the same is returned and raised."""
    _, theirs_stored, theirs_ended = run(body, OldRecorder)
    _, stored, ended = run(body, ProgressRecorder)
    assert stored == theirs_stored
    assert ended == theirs_ended


@pytest.mark.parametrize(
    "body", [counts, counts_decimals, increments, knows_no_total], ids=lambda body: body.__name__
)
def test_watchers_see_what_they_saw_by_theirs(body: Body) -> None:
    """Theirs was shown already, by way of `update_state`; the line that changes takes nothing away."""

    def shown(told: Told) -> list[Any]:
        return [(each["state"], each["current"], each["total"], each["message"], each["fraction"]) for each in told]

    seen = shown(run(body, THEIRS)[0])
    ours_shown = shown(run(body, ProgressRecorder)[0])
    assert list(dict.fromkeys(ours_shown)) == list(dict.fromkeys(seen))


def test_the_progress_is_told_as_it_is_counted() -> None:
    """Current, total, fraction and description, call by call."""
    told, _, _ = run(counts, ProgressRecorder)
    assert told.fractions == [None, 0.25, 0.5, 0.75, 0.9999, 1]
    assert told.messages == ["", "Row 0", "Row 1", "Row 2", "Row 3"]
    assert told.states == ["STARTED", "PROGRESS", "SUCCESS"]
    assert (told.last["current"], told.last["total"]) == (4, 4)


def test_a_second_phase_begins_again() -> None:
    """A count below the last one is meant as such: the bar goes back, as it did on their page."""
    told, _, _ = run(has_two_phases, ProgressRecorder)
    assert [told.fractions[0], *dict.fromkeys(told.fractions[1:])] == [None, 0.9999, None, 0, 1]
    assert (told.last["current"], told.last["total"]) == (50, 50)


def test_nothing_that_ran_fails() -> None:
    """A count that cannot be shown is left out, as a text of digits, which theirs takes. No total is none."""
    told, _, ended = run(counts_texts, ProgressRecorder)
    assert told.last["state"] == "SUCCESS"
    assert ended[1]["percent"] == 75.0
    told, _, _ = run(forgets_the_total, ProgressRecorder)
    assert (told.last["state"], told.last["current"], told.last["total"]) == ("SUCCESS", 1, None)


# --- Stopping ----------------------------------------------------------------------------------------------


def test_a_task_that_stops_itself_has_failed_and_says_why_to_staff() -> None:
    """It is told once, at once, with the exception it was given; `Ignore` does not change it."""
    told, _, _ = run(stops_and_leaves, ProgressRecorder)
    assert told.states == ["STARTED", "PROGRESS", "FAILURE"]
    assert len(told.ends) == 1
    assert told.last["error"] == {"type": "error"}
    assert told.staff[-1]["error"] == {"type": "ValueError", "message": "bad row"}
    assert (told.last["current"], told.last["total"]) == (2, 4)


def test_a_task_that_goes_on_after_its_stop_stays_failed() -> None:
    """What it reports and returns afterwards is not shown."""
    told, _, _ = run(stops_and_returns, ProgressRecorder)
    assert told.states == ["STARTED", "PROGRESS", "FAILURE"]
    assert told.last["current"] == 2
    assert told.staff[-1]["error"]["message"] == "bad row"


def test_steps_after_a_stopped_task_end_too() -> None:
    """A chain whose step stops itself by `Ignore` goes no further, and its later steps are shown as failed."""
    app = fresh_app()

    @app.task(bind=True, name="tests.stops")
    def stops(self: Any) -> None:
        stops_and_leaves(ProgressRecorder(self))

    @app.task(name="tests.after")
    def after(_result: Any) -> None:
        """Is never run."""

    from celery.app import trace

    later = after.s().set(task_id="later")
    message = chain(stops.s(), later).freeze()
    assert message.id == "later"
    with collect() as told:
        tracer = trace.build_tracer(stops.name, stops, app=app)
        tracer("first", (), {}, {"id": "first", "delivery_info": {}, "retries": 0, "chain": [dict(later)]})
    assert [(each["id"], each["state"]) for each in told.ends] == [("first", "FAILURE"), ("later", "FAILURE")]


# --- Besides -----------------------------------------------------------------------------------------------


def test_nothing_is_stored_where_nobody_reads_it() -> None:
    """`result_backend=False` reports and leaves the result backend alone."""
    app = fresh_app()
    told, stored, _ = run(counts, lambda task: ProgressRecorder(task, result_backend=False), app)
    assert told.last["current"] == 4
    assert [state for state, _ in stored] == []


def test_a_helper_thread_may_use_the_recorder() -> None:
    """Made in the body, it belongs to this execution, wherever it is used."""

    def in_a_thread(recorder: Any) -> None:
        thread = threading.Thread(target=recorder.set_progress, args=(3, 4))
        thread.start()
        thread.join()

    told, stored, _ = run(in_a_thread, ProgressRecorder)
    assert (told.last["current"], told.last["total"]) == (3, 4)
    assert [meta["current"] for state, meta in stored if state == "PROGRESS"] == [3]


def test_outside_a_worker_it_changes_nothing() -> None:
    """A task that is called as a function runs; nobody is told, nothing is stored."""
    app = fresh_app()

    @app.task(bind=True, name="tests.called")
    def called(self: Any) -> Any:
        recorder = ProgressRecorder(self)
        recorder.stop_task(1, 2, ValueError())
        return counts(recorder)

    with collect() as told:
        assert called() == "done"
    assert len(told) == 0


def test_a_wish_to_cancel_reaches_the_body() -> None:
    """The next call raises `TaskCancelled`, which theirs could not."""
    steps: list[int] = []

    def body(recorder: Any) -> None:
        for number in range(1, 10):
            if number == 3:
                told.cancel()
            recorder.set_progress(number, 10)
            steps.append(number)

    with collect() as told:
        run(body, ProgressRecorder)
    assert told.last["state"] == "REVOKED"
    assert steps == [1, 2]


def test_the_console_prints_what_theirs_prints(capsys: pytest.CaptureFixture[str]) -> None:
    """Word by word."""
    printed = []
    for recorder in (celery_progress.backend.ConsoleProgressRecorder(), ours.ConsoleProgressRecorder()):
        recorder.set_progress(1, 4, description="One")
        recorder.set_progress(2, 4)
        recorder.increment_progress(by=2, description="Four")
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1] != ""


def test_all_names_of_theirs_are_here() -> None:
    """Whatever a task imports from their two modules to record, with the same arguments."""
    import inspect

    from celery_progress.websockets import backend

    assert issubclass(ours.WebSocketProgressRecorder, ProgressRecorder)
    assert backend.WebSocketProgressRecorder.__name__ in ours.__all__
    assert celery_progress.backend.PROGRESS_STATE == ours.PROGRESS_STATE
    for name in ("set_progress", "increment_progress"):
        theirs = inspect.signature(getattr(celery_progress.backend.ProgressRecorder, name))
        mine = inspect.signature(getattr(ProgressRecorder, name))
        assert [(each.name, each.default) for each in mine.parameters.values()] == [
            (each.name, each.default) for each in theirs.parameters.values()
        ]
