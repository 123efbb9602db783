"""The life of every task, from Celery's signals. No task needs to be changed.

A task's child process reports its own start and end through its `Reporter`. The worker's main process knows
what a child can no longer say: that it was killed, ran into its hard limit, was revoked or expired. Such a
verdict names the execution it is about, and the record's rules refuse it when it comes too late.

Nothing in Celery tells two executions of one message apart, so each delivery is given a random name of its own
when it is received. `docs/architecture.md` has the table of signals; contact tests fail when Celery changes it.
"""

from __future__ import annotations

import datetime as dt
import functools
import logging
import os
import sys
import weakref
from collections.abc import Callable, Mapping
from contextvars import Token
from typing import Any, Final

from celery import signals
from celery.exceptions import Reject

from . import pool, publisher, sending, snapshot, terminating, worker_main
from .leases import Held
from .native_thread import threads_are_eventlets, threads_are_greenlets
from .options import options_of
from .outcome import outcome
from .owners import owner_of_sending
from .reasons import Expired, Interrupted, StepBefore, Terminated
from .reporter import NOBODY, Job, Reporter, running
from .sending import EXEC, OWNER
from .snapshot import State
from .store import Write

logger = logging.getLogger(__name__)

REPLACED: Final = "Replaced by new task"  # the text of Celery's Ignore in Task.replace()

# Deliveries that this main process has received and not yet finished, by the name of their execution.
_deliveries: weakref.WeakValueDictionary[str, Any] = weakref.WeakValueDictionary()
# What runs in this process, by task id: the newest execution of each.
_running: dict[str, Reporter] = {}

# Where an execution keeps its reporter: on its own request. Not by task id, which two executions may share: an eager
# retry runs inside its predecessor, and a pool of threads can be given a redelivered message beside the first.
EXECUTION: Final = "__progress_execution__"


def reporter_of(request: Any) -> Reporter | None:
    """The reporter of the execution that `request` belongs to, if it is tracked."""
    found: tuple[Reporter, Token[Reporter]] | None = getattr(request, EXECUTION, None)
    return found[0] if found else None


def reporter_of_task(task_id: str) -> Reporter | None:
    """The reporter of a task that runs in this process."""
    return _running.get(task_id)


def _on_received(sender: Any, request: Any, **_kwargs: Any) -> None:
    execution = request.request_dict[EXEC] = os.urandom(8).hex()
    _deliveries[execution] = request


def _delivered(task_id: str) -> Mapping[str, Any]:
    """The message of the task whose end Celery announces by its id alone.

    Of two deliveries of one message nobody can tell which is meant. Then the answer names no execution, and the
    record's rules refuse the verdict while one of them runs.
    """
    found = [request.request_dict for request in list(_deliveries.values()) if request.id == task_id]
    if len(found) > 1:
        return {**found[0], EXEC: None}
    return found[0] if found else {}


def _on_prerun(task_id: str, task: Any, args: Any, kwargs: Any, **_kwargs: Any) -> None:
    options = options_of(task.name, task.run)
    if not options.track:
        return
    request = task.request
    execution = request.get(EXEC)
    if execution is None or request.is_eager:  # nobody received it, or it inherited an older name
        execution = os.urandom(8).hex()
    job = Job(
        key=snapshot.key(str(task_id)),
        name=task.name,
        exec=execution,
        options=options,
        title=options.titled(task.run, args or (), kwargs or {}, task.name),
        **{**sending.lineage_of(request, str(task_id), options), "owner": _owner(task.name, request)},
        sent=str(request.get(sending.SENT) or ""),
        parent=sending.key_or_none(request.parent_id),
        root=sending.key_or_none(request.root_id),
        retries=request.retries or 0,
        max_retries=task.max_retries,
        worker=str(request.hostname or ""),
    )
    bridge = publisher.get_publisher()
    reporter = Reporter(job, bridge.wake)
    reporter.in_body = False
    setattr(request, EXECUTION, (reporter, running.set(reporter)))
    _running[task_id] = reporter
    bridge.follow(reporter)


def _owner(name: str, request: Any) -> str:
    if request.get(OWNER) is not None or not request.is_eager:
        return str(request.get(OWNER) or "")
    # An eager task is not sent, so nobody has asked yet whose it is.
    outer = running.get()
    return owner_of_sending(name, {}, None if outer is NOBODY else outer.job.owner)


def _on_success(sender: Any, result: Any, **_kwargs: Any) -> None:
    if reporter := reporter_of(sender.request):
        reporter.become(State.SUCCESS, result=result)


def _on_failure(sender: Any, task_id: str, exception: BaseException, **_kwargs: Any) -> None:
    if sender.request.id == task_id and (reporter := reporter_of(sender.request)):
        reporter.become(State.FAILURE, error=exception)
        _end_later_steps(sender.request, State.FAILURE)
        return
    state = State.REJECTED if isinstance(exception, Reject) else State.FAILURE
    _verdict(sender, task_id, _delivered(task_id), state, exception)


def _on_retry(sender: Any, request: Any, reason: Any = None, **_kwargs: Any) -> None:
    reporter = reporter_of(request)
    if reporter is None:
        # The main process announces a "retry", without a reason, of what it interrupted at a cold shutdown. The
        # message was acknowledged long ago; nobody will ever run it again.
        _verdict(sender, request.id, request, State.LOST, Interrupted())
        return
    reporter.scheduled_for = _moment(getattr(reason, "when", None))
    reporter.become(State.RETRY)


def _on_revoked(sender: Any, request: Any, terminated: bool = False, expired: bool = False, **_kwargs: Any) -> None:
    execution, reporter = request.get(EXEC) or "", reporter_of_task(request.id)
    if not terminated:
        _verdict(sender, request.id, request, State.REVOKED, Expired() if expired else None)
        return
    task = Held(snapshot.key(str(request.id)), execution)
    # gevent: it runs in this very process. Another delivery of the same message says nothing of it.
    if reporter is not None and reporter.job.exec == execution:
        here = reporter
        terminating.when_over(
            task, lambda: _running.get(request.id) is not here, lambda: _terminated_here(here, request)
        )
        return
    end = functools.partial(_verdict, sender, request.id, request, State.REVOKED, Terminated())
    terminating.when_over_in_pool(task, _deliveries.get(execution), end)


def _terminated_here(reporter: Reporter, request: Any) -> None:
    reporter.become(State.REVOKED, error=Terminated())
    if reporter.state is State.REVOKED:  # not if it took no notice, and told its own end
        _end_later_steps(request, State.REVOKED)


def _on_postrun(task_id: str, task: Any, retval: Any = None, state: str | None = None, **_kwargs: Any) -> None:
    found: tuple[Reporter, Token[Reporter]] | None = getattr(task.request, EXECUTION, None)
    if found is None:
        return
    reporter, token = found
    if _running.get(task_id) is reporter:
        del _running[task_id]
    try:
        running.reset(token)
    except ValueError:  # the body ended in another context than it began in
        running.set(token.old_value if isinstance(token.old_value, Reporter) else running.get())
    if reporter.state is not State.STARTED:  # its end is told already
        if reporter.state is State.FAILURE and state == State.IGNORED:  # by the task itself; Celery tells nobody
            _end_later_steps(task.request, State.FAILURE)
        return
    if (state == State.IGNORED and str(retval) == REPLACED) or (
        state == State.REJECTED and getattr(retval, "requeue", False)
    ):
        reporter.become(State.PENDING)
    elif state in (State.IGNORED, State.REJECTED):
        reporter.become(State(state))
        _end_later_steps(task.request, State.IGNORED)
    elif state is None and _left_in_silence(error := sys.exc_info()[1]):
        reporter.become(State.FAILURE, error=error)
        _end_later_steps(task.request, State.FAILURE)
    # state None elsewhere: interrupted. The main process's verdict follows, or the lease runs out.


def _left_in_silence(error: BaseException | None) -> bool:
    """True if the body raised what ends a process, in a pool where no main process tells of it."""
    return not pool.can_terminate() or (threads_are_greenlets() and isinstance(error, SystemExit))


def _verdict(task: Any, task_id: str, request: Any, state: State, error: BaseException | None) -> None:
    options = options_of(task.name, task.run)
    if not options.track:
        return
    lineage = sending.lineage_of(request, str(task_id), options)
    key, execution = snapshot.key(str(task_id)), request.get(EXEC) or ""
    job = Job(key, task.name, execution, options, title=options.title, **lineage)
    publisher.get_publisher().submit(_ended(job, state, error))
    if state is not State.LOST:
        _end_later_steps(request, state)


def _ended(job: Job, state: State, error: BaseException | None) -> Write:
    """The verdict on `job`."""
    args = {
        "exec": job.exec,
        "state": str(state),
        **job.lineage,
        **Reporter(job).texts(State.PENDING),  # kept only if the record was lost
        **outcome(job.options, task=job.name, error=error),
    }
    return Write("verdict", job.key, args)


def _end_later_steps(request: Any, state: State) -> None:
    """Steps that wait for a task which did not succeed will never run; Celery tells only its backend."""
    error = StepBefore() if state is State.FAILURE else None
    for step, _ in sending.steps_of(request.get("chain"), request.get("chord"), ""):
        name, task_id = step["task"], step["options"]["task_id"]
        options = options_of(name, sending.function_of(name))
        if options.track:
            lineage = sending.lineage_of(request, task_id, options)
            later = Job(snapshot.key(task_id), name, "", options, title=options.title, **lineage)
            publisher.get_publisher().submit(_ended(later, state, error))


def cancel_execution(task: Any, reporter: Reporter) -> None:
    """The body has stopped because somebody asked for it: say so to Celery, so that chains and chords end too."""
    reporter.become(State.REVOKED)
    _end_later_steps(task.request, State.REVOKED)
    error = TaskRevoked(f"Cancelled: {reporter.job.name}")
    task.backend.mark_as_failure(
        task.request.id,
        error,
        request=task.request,
        store_result=not (task.ignore_result or task.request.ignore_result),
        state=State.REVOKED,
        call_errbacks=False,
    )


class TaskRevoked(Exception):
    """The task was cancelled on request."""


def _moment(when: Any) -> str | None:
    """An absolute time for a retry's `when`: a datetime, or seconds from now."""
    if isinstance(when, dt.datetime):
        return snapshot.utc(when)
    if isinstance(when, (int, float)):
        return snapshot.iso(int((dt.datetime.now(dt.UTC).timestamp() + when) * 1_000_000))
    return None


def _guarded(handler: Callable[..., None]) -> Callable[..., None]:
    """No mistake of ours may reach the task, its sender or the worker."""

    @functools.wraps(handler)
    def call(*args: Any, **kwargs: Any) -> None:
        try:
            handler(*args, **kwargs)
        except Exception:
            logger.exception("Progress could not follow a task (%s)", handler.__name__)

    return call


_HANDLERS: Final[dict[Any, Callable[..., None]]] = {
    signals.before_task_publish: sending.before_task_publish,
    signals.task_received: _on_received,
    signals.task_prerun: _on_prerun,
    signals.task_success: _on_success,
    signals.task_failure: _on_failure,
    signals.task_retry: _on_retry,
    signals.task_revoked: _on_revoked,
    signals.task_postrun: _on_postrun,
    signals.worker_process_init: pool.on_process_init,
    signals.worker_ready: worker_main.on_worker_ready,
    signals.worker_process_shutdown: lambda **_kwargs: publisher.stop(),
    signals.worker_shutdown: lambda **_kwargs: publisher.stop(),
}


def connect() -> None:
    """Listen to Celery. Calling it again changes nothing. Where eventlet rules it says that it cannot."""
    if threads_are_eventlets():
        # Our event loop would be everybody's there: Django refuses its ORM beside one.
        logger.error("No progress is reported from here: eventlet is not supported. Use --pool gevent or threads.")
        return
    for signal, handler in _HANDLERS.items():
        signal.connect(_guarded(handler), weak=False, dispatch_uid="progress")
