"""The two things of which Celery sends no signal: a body that is about to be called, and `update_state`.

Both are wrapped on the task's class while Celery binds it, as an annotation. Celery's own notation for that,
``{"*": {"@__call__": …}}``, unwraps every method that carries ``__wrapped__`` (a site's decorator would be lost)
and takes only the first annotation that fits; an annotation object has neither fault.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import threading
from collections.abc import Callable, Mapping
from typing import Any

from celery import Task, current_app
from celery.app.annotations import prepare, resolve_all
from celery.exceptions import Ignore, SoftTimeLimitExceeded

from . import lifecycle
from .exceptions import ProgressError, TaskCancelled
from .log_capture import capturing
from .reporter import Reporter
from .snapshot import FINAL, State
from .store import get_store

logger = logging.getLogger(__name__)

MARK = "__progress_hook__"
_plain_call = Task.__call__


class Hooks:
    """Celery annotation: applies the site's own annotations first, then wraps what came of them."""

    def __init__(self, site: Any) -> None:
        self._site = prepare(site)

    def annotate(self, task: Any) -> dict[str, Any]:
        """What changes on the class of `task`."""
        for changes in resolve_all(self._site, task):
            for name, value in changes.items():
                if name.startswith("@"):
                    task.add_around(name[1:], value)
                else:
                    setattr(task, name, value)
        return _wrapped(task)

    def annotate_any(self) -> None:
        """Nothing: `annotate` has done it, per task."""


def install(app: Any = None) -> None:
    """Wrap the tasks of `app` (default: the current one), those that exist and those to come. Idempotent."""
    app = app or current_app._get_current_object()
    site = app.conf.task_annotations
    if not isinstance(site, Hooks):
        app.conf.task_annotations = Hooks(site)
        app.__dict__.pop("annotations", None)  # Celery keeps what it made of the setting before
    for task in list(app._tasks.values()):  # those that were bound before us; no lazy one is evaluated
        cls = type(task)
        for name, wrapper in _wrapped(cls).items():
            setattr(cls, name, wrapper)


def _wrapped(cls: Any) -> dict[str, Any]:
    chosen = {"__call__": _wrap_call(cls.__call__), "update_state": _wrap_update_state(cls.update_state)}
    return {name: wrapper for name, wrapper in chosen.items() if not hasattr(getattr(cls, name), MARK)}


def _wrap_call(original: Callable[..., Any]) -> Callable[..., Any]:
    # Celery calls `run` directly unless `__call__` is customised, and its own `__call__` pushes an empty request.
    # In a worker that method is replaced by one that Celery's tracer brings.
    inherited = original is _plain_call or original.__module__ == "celery.app.trace"

    @functools.wraps(original, updated=())
    def call(task: Any, *args: Any, **kwargs: Any) -> Any:
        reporter = lifecycle.reporter_of(task.request)
        body = functools.partial(original, task)
        if reporter is None or getattr(task.request, MARK, False):
            # Not tracked, or called as a plain function from inside a body.
            return Task.__call__(task, *args, **kwargs) if inherited else body(*args, **kwargs)
        setattr(task.request, MARK, True)
        if inherited:
            task.request._protected = 1
            body = task.run
        try:
            if reporter.job.options.cancellable and _cancelled_before_start(reporter):
                raise TaskCancelled
            with _listening(task, reporter):
                reporter.in_body = True
                return body(*args, **kwargs)
        except TaskCancelled:
            reporter.in_body, reporter.stopped_in = False, threading.get_ident()
            try:
                lifecycle.cancel_execution(task, reporter)
            except Exception:
                logger.exception("The result backend was not told that %s is cancelled", task.name)
            raise Ignore("Cancelled on request") from None
        finally:
            reporter.in_body = False

    setattr(call, MARK, True)
    with contextlib.suppress(AttributeError):
        del call.__wrapped__  # or add_around() of a later annotation unwraps us
    return call


def _listening(task: Any, reporter: Reporter) -> contextlib.AbstractContextManager[None]:
    if not reporter.job.options.capture_logs:
        return contextlib.nullcontext()
    return capturing(task.name, type(task).__module__)


def _cancelled_before_start(reporter: Reporter) -> bool:
    """True if somebody cancelled the task while it waited. Costs one Redis round trip, none while it is away."""
    try:
        return bool(get_store().control(reporter.job.key))
    except ProgressError:
        return False


def _wrap_update_state(original: Callable[..., Any]) -> Callable[..., Any]:
    # A site's own method may take other arguments than Celery's; they are passed on as they came.
    @functools.wraps(original, updated=())
    def update_state(task: Any, *args: Any, **kwargs: Any) -> Any:
        answer = original(task, *args, **kwargs)
        given = {**dict(zip(("task_id", "state", "meta"), args, strict=False)), **kwargs}
        reporter = lifecycle.reporter_of(task.request)
        if other := given.get("task_id"):
            reporter = lifecycle.reporter_of_task(other)
        meta, state = given.get("meta"), given.get("state")
        if reporter is not None and isinstance(meta, Mapping) and state not in FINAL and state != State.RETRY:
            try:
                reporter.update(**_from_meta(meta))
            except SoftTimeLimitExceeded:
                raise
            except Exception as error:  # noqa: BLE001 (what Celery takes must not fail because of us)
                logger.debug("update_state of %s is not shown: %r", task.name, error)
        return answer

    setattr(update_state, MARK, True)
    with contextlib.suppress(AttributeError):
        del update_state.__wrapped__
    return update_state


def _from_meta(meta: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of `Reporter.update` in the meta that Celery's users write."""
    chosen: dict[str, Any] = {name: meta[name] for name in ("current", "total") if name in meta}
    if not chosen and "percent" in meta:
        chosen = {"current": meta["percent"], "total": 100}
    message = meta.get("message", meta.get("description"))
    return chosen if message is None else {**chosen, "message": str(message)}
