"""What the result backend is believed about a task that nobody has heard of."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from celery import current_app
from celery.exceptions import TaskRevokedError

from progress import key, result_backend
from progress.record import Record
from progress.result_backend import end_of
from progress.store import Write

STARTED = dt.datetime(2026, 3, 1, 12, 0, 0, tzinfo=dt.UTC)
LATER = STARTED + dt.timedelta(seconds=5)
BEFORE = STARTED - dt.timedelta(seconds=5)


class Backend:
    """Knows one task, and notes who is asked for."""

    def __init__(self, **meta: Any) -> None:
        self.meta = meta
        self.asked: list[tuple[str, bool]] = []

    def get_task_meta(self, task_id: str, cache: bool = True) -> dict[str, Any]:
        self.asked.append((task_id, cache))
        return self.meta


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> Backend:
    """What this process's Celery asks."""
    fake = Backend(status="SUCCESS", result=7, date_done=LATER)
    monkeypatch.setattr(type(current_app._get_current_object()), "backend", fake)
    return fake


def record(task_id: str = "a", name: str = "shop.pay", began: dt.datetime = STARTED) -> Record:
    """A task that began and was not heard of again."""
    return Record(
        exec="e1",
        state="STARTED",
        started_at=int(began.timestamp() * 1_000_000),
        body=f'"id":"{key(task_id)}","name":"{name}"',
    )


def state_of(write: Write | None) -> str | None:
    return None if write is None else str(write.args["state"])


def test_an_end_is_a_verdict_on_this_execution(backend: Backend) -> None:
    """It names the execution, so that the record refuses it when another has taken over meanwhile."""
    write = end_of("a", record())
    assert write is not None
    assert (write.op, write.key, write.args["exec"], write.args["state"]) == ("verdict", "a", "e1", "SUCCESS")
    assert backend.asked == [("a", False)], "what was cached may be of long ago"


@pytest.mark.parametrize("status", ["SUCCESS", "FAILURE", "REVOKED"])
def test_each_end_of_celerys_is_an_end(backend: Backend, status: str) -> None:
    """The three that Celery keeps."""
    backend.meta["status"] = status
    assert state_of(end_of("a", record())) == status


@pytest.mark.parametrize("status", ["PENDING", "STARTED", "RETRY", "PROGRESS", "RECEIVED", "IGNORED", "my own", None])
def test_whatever_else_it_keeps_is_none(backend: Backend, status: str | None) -> None:
    """A task that runs, waits, or of which it knows nothing."""
    backend.meta["status"] = status
    assert end_of("a", record()) is None


def test_an_answer_without_a_status_is_none(backend: Backend) -> None:
    """A backend that is disabled, or keeps rows of another form."""
    backend.meta = {}
    assert end_of("a", record()) is None


def test_the_result_of_the_run_before_is_not_believed(backend: Backend) -> None:
    """Ids are used again: what ended before this execution began is another one's end."""
    backend.meta["date_done"] = BEFORE
    assert end_of("a", record()) is None


@pytest.mark.parametrize(
    "date",
    [
        LATER,
        LATER.replace(tzinfo=None),
        LATER.isoformat(),
        LATER.replace(tzinfo=None).isoformat(),
        LATER.isoformat().replace("+00:00", "Z"),
        LATER.astimezone(dt.timezone(dt.timedelta(hours=9))),
        LATER.astimezone(dt.timezone(dt.timedelta(hours=-7))).isoformat(),
    ],
    ids=str,
)
def test_a_date_in_any_form_of_a_backend_is_read(backend: Backend, date: Any) -> None:
    """A datetime or its text, with a zone or in UTC without."""
    backend.meta["date_done"] = date
    assert state_of(end_of("a", record())) == "SUCCESS"
    assert end_of("a", record(began=LATER + dt.timedelta(milliseconds=1))) is None


@pytest.mark.parametrize("date", [None, "", "yesterday", 0, 17.5, {}])
def test_an_end_without_a_date_is_not_believed(backend: Backend, date: Any) -> None:
    """Nobody can tell of which run it is."""
    backend.meta["date_done"] = date
    assert end_of("a", record()) is None


@pytest.mark.parametrize("task_id", ["Bericht 7/é", "x" * 500, "~" + "0" * 64])
def test_a_task_whose_id_is_hashed_is_not_asked_for(backend: Backend, task_id: str) -> None:
    """The backend knows it by an id that we do not have."""
    assert end_of(key(task_id), record(task_id)) is None
    assert backend.asked == []


def test_a_record_of_another_task_is_not_asked_for(backend: Backend) -> None:
    """A damaged record says another id than its key."""
    assert end_of("a", record("b")) is None
    assert backend.asked == []


def test_an_error_is_for_staff(backend: Backend) -> None:
    """As after any failure: everybody learns that it failed, permitted staff learn why."""
    backend.meta |= {"status": "FAILURE", "result": ValueError("secret text")}
    write = end_of("a", record())
    assert write is not None
    assert "secret" not in write.args["outcome"]
    assert '"message":"secret text"' in write.args["outcome_staff"]


def test_what_celery_raises_for_a_revoked_task_is_no_reason(backend: Backend) -> None:
    """It would be read as "expired", which an execution that has begun cannot be."""
    backend.meta |= {"status": "REVOKED", "result": TaskRevokedError("revoked")}
    write = end_of("a", record())
    assert write is not None
    assert (write.args["outcome"], write.args["outcome_staff"]) == ("", "")


def test_a_result_is_shown_only_by_a_task_that_shows_it(backend: Backend, settings: Any) -> None:
    """The options of the task count here too; of one that this process does not know, those of the settings."""
    hidden = end_of("a", record())
    settings.PROGRESS_TASKS = {"shop.*": {"show_result": True}}
    shown = end_of("a", record())
    assert hidden is not None
    assert shown is not None
    assert (hidden.args["outcome"], shown.args["outcome"]) == ("", '"result":7')


def test_the_databases_connection_of_the_asking_thread_is_closed(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when the backend raises: each question has a thread of its own, which nobody would close it for."""
    closed: list[bool] = []
    monkeypatch.setattr(result_backend.connections, "close_all", lambda: closed.append(True))
    end_of("a", record())
    backend.meta = None  # type: ignore[assignment]
    monkeypatch.setattr(backend, "get_task_meta", lambda *_args, **_options: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        end_of("a", record())
    assert closed == [True, True]
