"""From a form to a task, exactly once, however often the form is sent.

Two steps, each a transaction of its own:

1. Write down what is to be sent (`Start`, with what belongs to it). The unique constraint on user and once
   key lets one of several equal requests do this. It is committed before the task is sent, or a fast worker
   would not find it.
2. Claim the row, send, commit. The claim locks the row, so an equal request waits here until the task is
   sent, and then finds nothing left to do. If sending fails, the claim is rolled back.

A process that dies between the steps leaves a row that is not sent; the next equal request sends it. One that
dies between sending and committing makes the next one send again, under the same task id.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final
from uuid import UUID

from celery import Task, current_app
from django.db import transaction
from django.utils import timezone
from kombu.exceptions import KombuError

from .models import Start

# One new attempt, for a connection that died in the pool. More would keep somebody waiting for the page who
# can press the button again. (`retry=False` is slower: it leaves the waiting to the connection, 6 s.)
_RETRY: Final = {"max_retries": 1, "interval_start": 0}


class NotSent(Exception):
    """The broker did not take the task. Nothing was started and nothing is kept; try again in a moment."""


def start_once(user: Any, once: UUID, task: Task, arguments: Callable[[Start], dict[str, Any]]) -> str:
    """Send `task` for `user`, unless this form was sent before; the answer is the task id either way.

    `arguments` gives the task's keyword arguments, plain JSON. It is called once, inside the transaction that
    writes down the start, so it may create rows for the task to read. Raises `NotSent` when the broker is
    away; then everything is as before. Call it outside of a transaction.
    """
    with transaction.atomic(durable=True):
        start, new = Start.objects.get_or_create(user=user, once=once, defaults={"task": task.name})
        if new:
            start.arguments = arguments(start)
            start.save(update_fields=["arguments"])
    _send(start)
    return start.task_id


def _send(start: Start) -> None:
    try:
        with transaction.atomic(durable=True):
            if _claim(start):
                current_app.tasks[start.task].apply_async(
                    kwargs=start.arguments, task_id=start.task_id, retry_policy=_RETRY
                )
                return
    except (KombuError, OSError) as error:
        _forget(start)
        raise NotSent(str(error)) from error
    if not Start.objects.filter(pk=start.pk).exists():
        raise NotSent("An equal request, sent at the same time, found the broker away.")


def _claim(start: Start) -> bool:
    # One UPDATE that compares and sets: every database locks the row for it, or the whole file.
    return bool(Start.objects.filter(pk=start.pk, sent_at=None).update(sent_at=timezone.now()))


def _forget(start: Start) -> None:
    with transaction.atomic(durable=True):
        # Claimed first, so that nobody sends what is being deleted.
        if _claim(start):
            for relation in Start._meta.related_objects:  # what was made for the task to read
                relation.related_model._default_manager.filter(start=start).delete()
            start.delete()
