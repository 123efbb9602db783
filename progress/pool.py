"""Whether the pool of this worker can end a running task by force. Celery tells no task, so it is noted here."""

from __future__ import annotations

from typing import Any

from celery.concurrency.base import BasePool

_can_terminate = False


def can_terminate() -> bool:
    """True if a task that runs in this process can be ended from outside: in prefork and gevent.

    Threads cannot be ended, and a solo worker hears nothing while a task runs. Outside of a worker it is False.
    """
    return _can_terminate


def on_process_init(sender: Any = None, **_kwargs: Any) -> None:
    """Celery's signal, in a child of the prefork pool. Its main process can end it."""
    global _can_terminate
    if sender is not None:  # the solo pool sends it too, of no node: it has no children
        _can_terminate = True


def on_worker_ready(sender: Any, **_kwargs: Any) -> None:
    """Celery's signal, in the main process, before it takes its first task. `sender` is the consumer."""
    global _can_terminate
    _can_terminate = is_able(sender.pool)


def is_able(pool: Any) -> bool:
    """True if `pool` has something to answer to `terminate_job`; Celery's own answer is `NotImplementedError`."""
    method = getattr(pool, "terminate_job", None)
    return method is not None and getattr(method, "__func__", None) is not BasePool.terminate_job
