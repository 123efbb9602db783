"""What Celery's result backend knows about a task of which nobody has heard: perhaps it ended after all."""

from __future__ import annotations

import datetime as dt
from typing import Any, Final

from celery import current_app
from django.db import connections

from .options import options_of
from .outcome import outcome
from .record import TEXTS, Record
from .snapshot import State
from .store import Write

ENDS: Final = {"SUCCESS": State.SUCCESS, "FAILURE": State.FAILURE, "REVOKED": State.REVOKED}


def end_of(key: str, record: Record) -> Write | None:
    """The verdict that the backend has on this execution; None if it has none. May block as long as the backend does.

    Only a result from after the execution began counts: the backend keeps the result of the run before, too. That
    compares the worker's clock with Redis's, so a worker whose clock is behind may be presumed lost all the same.
    """
    told = record.snapshot()
    if told.get("id") != key or key.startswith("~"):  # a hash: the id itself is not known
        return None
    try:
        meta = current_app.backend.get_task_meta(key, cache=False)
    finally:
        connections.close_all()  # this thread's: a backend in the database has opened one
    state, at = ENDS.get(str(meta.get("status"))), _microseconds(meta.get("date_done"))
    if state is None or at < record.started_at:
        return None
    kept = (
        "exec",
        "owner",
        "tree",
        "group",
        "part_of",
        "weight",
        "history",
        *TEXTS,
    )  # should it be gone when this is written
    ended = {name: getattr(record, name) for name in kept}
    return Write("verdict", key, {**ended, "state": str(state), **_outcome(told, state, meta.get("result"))})


def _outcome(told: dict[str, Any], state: State, result: Any) -> dict[str, str]:
    name = str(told.get("name"))
    task = current_app.tasks.get(name)
    options = options_of(name, None if task is None else task.run)
    if state is State.SUCCESS:
        return outcome(options, task=name, result=result)
    # What Celery raises for a revoked task is no reason that anybody gave.
    error = result if state is State.FAILURE and isinstance(result, BaseException) else None
    return outcome(options, task=name, error=error)


def _microseconds(moment: Any) -> int:
    """A time as µs since 1970; 0 if it is none. Backends give a datetime or its text, without a zone in UTC."""
    try:
        at = moment if isinstance(moment, dt.datetime) else dt.datetime.fromisoformat(str(moment))
    except ValueError:
        return 0
    at = at if at.tzinfo else at.replace(tzinfo=dt.UTC)
    return int(at.timestamp() * 1_000_000)
