"""Celery's signals as a worker sends them, one line each in the file that ``SIGNAL_LOG`` names."""

from __future__ import annotations

import json
import os
from typing import Any

from celery import shared_task, signals

MAIN = os.getpid()  # this module is imported by the worker's main process, before it forks


def _note(name: str, task_id: str, detail: str = "") -> None:
    where = "main" if os.getpid() == MAIN else "child"
    line = json.dumps({"where": where, "signal": name, "id": task_id, "detail": detail})
    handle = os.open(os.environ["SIGNAL_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(handle, line.encode() + b"\n")  # one write: lines of two processes do not mix
    os.close(handle)


def received(request: Any, **_: Any) -> None:
    _note("received", request.id, type(request.request_dict).__name__)


def prerun(task_id: str, **_: Any) -> None:
    _note("prerun", task_id)


def success(sender: Any, **_: Any) -> None:
    _note("success", sender.request.id)


def failure(task_id: str, exception: Any, **_: Any) -> None:
    _note("failure", task_id, type(exception).__name__)


def retry(request: Any, reason: Any = None, **_: Any) -> None:
    _note("retry", request.id, type(reason).__name__)


def revoked(request: Any, terminated: bool, expired: bool, **_: Any) -> None:
    _note("revoked", request.id, "expired" if expired else "terminated" if terminated else "")


def postrun(task_id: str, retval: Any = None, state: Any = None, **_: Any) -> None:
    _note("postrun", task_id, f"{state}: {retval}" if state == "IGNORED" else str(state))


if "SIGNAL_LOG" in os.environ:  # in a worker that was started for it
    for handler in (received, prerun, success, failure, retry, revoked, postrun):
        getattr(signals, f"task_{handler.__name__}").connect(handler, weak=False)


@shared_task(bind=True, max_retries=1)
def own_headers(self: Any, retry: bool = False) -> dict[str, Any]:
    """What this execution, or its retry, was sent with."""
    if retry and not self.request.retries:
        raise self.retry(countdown=0)
    return {**self.request.headers, "exec": self.request.get("progress-exec")}
