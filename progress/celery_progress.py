"""The recorders of celery-progress, so that a site tries this app by changing one import line.

    from progress.celery_progress import ProgressRecorder  # was: from celery_progress.backend import …

They do for the task what theirs do, the state in the result backend included, so views and pages that ask for
`AsyncResult.info` go on working. Besides they report here. `docs/coming-from-celery-progress.md` goes on from there.
"""

from __future__ import annotations

import logging
from decimal import Decimal
from typing import Any, Final

from . import lifecycle
from .exceptions import InvalidReport
from .reporter import NOBODY, Reporter, running
from .snapshot import State

logger = logging.getLogger(__name__)

PROGRESS_STATE: Final = "PROGRESS"

__all__ = ["PROGRESS_STATE", "ConsoleProgressRecorder", "ProgressRecorder", "WebSocketProgressRecorder"]

Told = tuple[str, dict[str, Any]]


class ProgressRecorder:
    """Reports for a bound task: ``ProgressRecorder(self)`` in its body.

    Each call writes to the result backend, as theirs does, and reports here. With ``result_backend=False`` it only
    reports, which costs next to nothing: for tasks of which nobody reads `AsyncResult.info` any more. Raises
    `progress.TaskCancelled` when somebody has asked to cancel. Made in the body, it may be used by helper threads.
    """

    def __init__(self, task: Any, *, result_backend: bool = True) -> None:
        self.task = task
        self.current: Any = 0
        self.total: Any = 0
        self.description = ""
        self._result_backend = result_backend
        # A helper thread has another request, so what belongs to this execution is kept.
        self._task_id = task.request.id
        self._reporter: Reporter = lifecycle.reporter_of(task.request) or running.get()

    def set_progress(self, current: Any, total: Any, description: str = "") -> Told:
        """So much of `total` is done; a total of 0 or None = unknown. A `current` below the last one begins again.

        An empty description clears the one before. Returns the state and the meta of the result backend.
        """
        meta = {
            "pending": False,
            "current": current,
            "total": total,
            "percent": _percent(current, total),
            "description": description,
        }
        if _is_less(current, self.current):
            self._reporter.reset()
        self._remember(current, total, description)
        self._report(current, total, description)
        self._store(PROGRESS_STATE, meta)
        return PROGRESS_STATE, meta

    def increment_progress(self, by: Any = 1, description: str = "") -> None:
        """`by` more units are done."""
        self.set_progress(self.current + by, self.total, description)

    def stop_task(self, current: Any, total: Any, exc: Any) -> Told:
        """Show the task as failed because of `exc`. The body goes on; end it by ``raise Ignore()``, as ever.

        Here the failure is the end: what the body reports or returns afterwards is not shown. Celery's own state is
        that of the meta until the body returns, as with theirs. (Their version 0.5 no longer has this method.)
        """
        meta = {
            "pending": False,
            "current": current,
            "total": total,
            "percent": 100.0,
            "exc_message": str(exc),
            "exc_type": str(type(exc)),
        }
        self._remember(current, total, "")
        self._report(current, total, "")
        self._store(str(State.FAILURE), meta)
        if self._reporter is not NOBODY:
            error = exc if isinstance(exc, BaseException) else Stopped(exc)
            self._reporter.become(State.FAILURE, error=error)
        return str(State.FAILURE), meta

    def _remember(self, current: Any, total: Any, description: str) -> None:
        self.current, self.total = current, total
        if description:
            self.description = description

    def _report(self, current: Any, total: Any, description: str) -> None:
        try:
            self._reporter.update(current=current, total=total, message=description)
        except InvalidReport as error:  # a task that ran with theirs must run with ours
            logger.debug("Progress of %s is not shown: %s", self.task.name, error)

    def _store(self, state: str, meta: dict[str, Any]) -> None:
        if self._result_backend and self._task_id:  # outside a worker there is no id, and nobody who asks
            self.task.update_state(task_id=self._task_id, state=state, meta=meta)


# Theirs pushes from the task, at the price of a connection per call. Here every recorder pushes.
WebSocketProgressRecorder = ProgressRecorder


class ConsoleProgressRecorder:
    """Prints and reports nothing: for running a body by hand."""

    def __init__(self) -> None:
        self.current: Any = 0
        self.total: Any = 0
        self.description = ""

    def set_progress(self, current: Any, total: Any, description: str = "") -> None:
        """Print how far it is."""
        self.current, self.total = current, total
        self.description = description or self.description
        print(f"processed {current} items of {total}. {description}")  # noqa: T201 (what it is for)

    def increment_progress(self, by: Any = 1, description: str = "") -> None:
        """`by` more units are done."""
        self.set_progress(self.current + by, self.total, description)

    def stop_task(self, current: Any, total: Any, exc: Any) -> None:
        """Nothing, as theirs."""


class Stopped(Exception):
    """What `stop_task` was given was no exception; its text is this one's."""


def _percent(current: Any, total: Any) -> float:
    if total is None or total <= 0:
        return 0
    return float(round(Decimal(current) / Decimal(total) * 100, 2))


def _is_less(current: Any, before: Any) -> bool:
    try:
        return bool(current < before)
    except TypeError:  # theirs takes a number in a text, too
        return False
