"""The link between what happens to tasks and the table of runs."""

from __future__ import annotations

import time
from typing import Any

from django.db import DatabaseError
from redis.exceptions import RedisError

from progress.conf import conf
from progress.models import TaskRun
from progress.redis_clients import READ_TIMEOUT
from progress.redis_store import RedisStore
from progress.store import get_store

from .broken import Broken

LATE = 60.0  # seconds; a recorder that runs is never that far behind


def check_history(_seconds: float) -> str:
    """The table is there; what waits to be written is told, and is no fault while no server runs."""
    if not conf.PROGRESS_RECORDER:
        return "off, PROGRESS_RECORDER is empty"
    try:
        TaskRun.objects.order_by("-queued_at", "-id").values_list("pk", flat=True).first()
    except DatabaseError as error:
        raise Broken("the table of runs", str(error).strip(), "Run manage.py migrate.") from None
    store = get_store()
    if not isinstance(store, RedisStore):
        return "the table is there"
    try:
        name = f"{store.prefix}:changes"
        waiting = store.client(READ_TIMEOUT).xlen(name)
        first = store.client(READ_TIMEOUT).xrange(name, count=1)
    except RedisError as error:
        raise Broken("an answer from Redis", str(error), "See above.") from None
    if not first:
        return "the table is there, nothing waits"
    entry: Any = first[0][0]
    age = time.time() - int(entry.partition(b"-")[0]) / 1000
    hint = "; does a server run that was visited, or manage.py record_runs?" if age > LATE else ""
    return f"the table is there, {waiting} changes wait, the oldest for {max(age, 0):.0f} s{hint}"
