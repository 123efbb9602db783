"""What a worker's main process does beside Celery: it promises signs of life for its pool, and reaps for everybody.

A child may be held up by its own task, may be replaced after each task, may be killed; the main process is not.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from celery.worker import state

from . import pool, publisher, result_backend, snapshot, terminating
from .leases import Held, Reaper, keep
from .options import options_of
from .sending import EXEC


def on_worker_ready(sender: Any, **_kwargs: Any) -> None:
    """Celery's signal, in the main process. `sender` is the consumer, which knows the worker's queues."""
    pool.on_worker_ready(sender)
    bridge = publisher.get_publisher()
    bridge.run(lambda tell: keep(_active, lambda: _queues(sender), Reaper(tell, result_backend.end_of)))


def _active() -> Iterator[Held]:
    """What the pool has begun and not finished, of tasks that are tracked."""
    for request in list(state.active_requests):
        execution = request.request_dict.get(EXEC)
        if execution and _is_tracked(request.task):
            yield Held(snapshot.key(str(request.id)), execution)
    yield from terminating.held()


def _is_tracked(task: Any) -> bool:
    try:
        return options_of(task.name, task.run).track
    except Exception:  # noqa: BLE001 (whatever is wrong with the settings: without a sign of life it would be lost)
        return True


def _queues(consumer: Any) -> list[str]:
    """Names of the queues that the worker takes tasks from at this moment; none while its broker is away."""
    task_consumer = getattr(consumer, "task_consumer", None)
    return [] if task_consumer is None else [queue.name for queue in list(task_consumer.queues)]
