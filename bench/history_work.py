"""What the recorder asks of a table with a million runs, and how fast it writes."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from .history_pages import Found
from .history_plans import queries
from .history_rows import ROWS

ROUNDS: Final = 20
RUNS: Final = 10_000  # that the recorder writes down, three changes each
PORTION: Final = 5_000  # of them that Redis is told of at once; its backlog is short
AT_ONCE: Final = 200  # writes in one question to Redis
TOGETHER: Final = 20  # lives that run at the same time
KEY: Final = "measured-"


def measure() -> dict[str, Found]:
    """Each piece of the recorder's work, undone afterwards. One round is a batch, or a question."""
    return {
        "200 changes of new runs": _done(_written(lambda number: (f"{KEY}{number}", 1))),
        "200 changes of known runs": _done(_written(_known())),
        "a look at what has not ended": _done(_looked()),
        "1,000 old runs deleted": _done(_pruned()),
        "how did this run end?": _done(_asked()),
    }


def _done(rounds: Iterable[Callable[[], object]]) -> Found:
    found = Found()
    with undone():
        for number, work in enumerate(itertools.islice(rounds, ROUNDS)):
            with queries() as asked:
                began = time.perf_counter()
                work()
                seconds = time.perf_counter() - began
            found.add(asked, seconds, number in (0, 1))
    return found


@contextmanager
def undone() -> Iterator[None]:
    """The table is afterwards what it was."""
    from django.db import transaction

    with transaction.atomic():
        yield
        transaction.set_rollback(True)


def _known() -> Callable[[int], tuple[str, int]]:
    from progress.models import TaskRun

    chance = random.Random(17)
    numbers = [chance.randint(1, ROWS) for _ in range(ROUNDS * 200)]
    places = list(TaskRun.objects.filter(pk__in=numbers).order_by().values_list("task_id", "run"))
    return lambda number: places[number % len(places)]


def _written(place: Callable[[int], tuple[str, int]]) -> Iterator[Callable[[], object]]:
    from progress.record import Record
    from progress.recorder import write
    from progress.store import Change

    now = time.time_ns() // 1000
    for batch in itertools.count():
        changes = []
        for number in range(batch * 200, batch * 200 + 200):
            key, run = place(number)
            body = f'"id":"{key}","name":"tasks.countdown","title":"Countdown"'
            record = Record(seq=now + number, run=run, state="SUCCESS", updated_at=now, queued_at=now, body=body)
            changes.append(Change("", key, record, '{"given":{"steps":3},"hidden":[],"left_out":[]}'))
        yield lambda changes=changes: write(changes)  # type: ignore[misc]


def _looked() -> Iterator[Callable[[], object]]:
    from progress.recorder import Recorder

    recorder = Recorder()
    while True:
        yield recorder.look_again


def _pruned() -> Iterator[Callable[[], object]]:
    from progress.history import forget_old

    batches = forget_old(80 * 24 * 3600)
    while True:
        yield lambda: next(batches)


def _asked() -> Iterator[Callable[[], object]]:
    from progress.history import end_of
    from progress.record import Record

    known = _known()
    for number in itertools.count():
        key, run = known(number)
        yield lambda key=key, run=run: end_of(key, Record(seq=1, run=run, attempt=1))  # type: ignore[misc]


def throughput() -> dict[str, float]:
    """Changes per second, from Redis into the table: as lives come one by one, and with each change apart."""
    found = {}
    for name, apart in (("life by life", False), ("each change of a run in a batch of its own", True)):
        try:
            seconds, told = 0.0, 0
            for start in range(0, RUNS, PORTION):
                changes = _tell(range(start, start + PORTION), apart)
                seconds, told = seconds + _record(changes), told + changes
            if (kept := _rows().filter(state="SUCCESS").count()) != RUNS:
                raise RuntimeError(f"Expected {RUNS} finished runs in the table, got {kept}.")
            found[name] = told / seconds
        finally:
            _rows()._raw_delete("default")
    return found


def _rows() -> Any:
    from progress.models import TaskRun

    return TaskRun.objects.filter(task_id__gt=KEY, task_id__lt=f"{KEY}~")


def _tell(numbers: range, apart: bool) -> int:
    """Have Redis told of these lives: queued, started, ended. The answer is how many changes that is."""
    from progress.store import get_store

    store: Any = get_store()
    store.client(5).flushall()
    asyncio.run(_live(store, numbers, len(numbers) if apart else TOGETHER))
    return 3 * len(numbers)


async def _live(store: Any, numbers: range, together: int) -> None:
    """So many runs at a time, step by step."""
    from progress.store import Write

    told = '{"given":{"steps":3,"seconds":0.5},"hidden":[],"left_out":[]}'
    for start in range(0, len(numbers), together):
        keys = [f"{KEY}{number}" for number in numbers[start : start + together]]
        fences = dict.fromkeys(keys, 0)
        for step, state in enumerate(("", "STARTED", "SUCCESS")):
            writes = []
            for key in keys:
                texts = {
                    "body": f'"id":"{key}","name":"tasks.countdown","title":"Countdown"',
                    "owner": "7",
                    "history": 1,
                }
                args = {"exec": "e", "fence": fences[key], "n": step, "state": state} if step else {"arguments": told}
                writes.append(Write("save" if step else "queue", key, {**args, **texts}))
            answers = []
            for first in range(0, len(writes), AT_ONCE):
                answers += await store.awrite_many(writes[first : first + AT_ONCE])
            if not all(answer.accepted for answer in answers):
                raise RuntimeError(f"Redis should have taken every change, and left out some of {keys[0]} …")
            fences = {key: answer.head.fence if step else 0 for key, answer in zip(keys, answers, strict=True)}


def _record(told: int) -> float:
    from progress.recorder import Recorder

    recorder = Recorder()
    began, written = time.perf_counter(), 0
    while written < told:
        found = recorder.record()
        if not found:
            raise RuntimeError(f"Only {written} of {told} changes were told; expected all.")
        written += found
    seconds = time.perf_counter() - began
    recorder.close()
    return seconds
