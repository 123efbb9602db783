"""A task that runs in this process, reported by the real publisher to the real Redis, with somebody watching."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from uuid import uuid4

from progress.options import Options
from progress.publisher import get_publisher, stop
from progress.reporter import Job, Reporter, running
from progress.snapshot import State
from progress.store import Write, get_store, watch_writes

WATCHED_FOR = 3600.0  # seconds; longer than any run


class CountedReporter(Reporter):
    """A reporter that knows how often the publisher has taken its state: a dead publisher would cost nothing."""

    saves = 0

    def texts(self, state: State) -> dict[str, str]:
        """As the publisher asks for it."""
        self.saves += 1
        return super().texts(state)


@contextmanager
def running_task(title: str = "", unit: str = "rows") -> Iterator[CountedReporter]:
    """A running task as the life cycle would make it. It is marked as watched, so it speaks at the short interval."""
    job = Job(
        key=f"bench-{uuid4().hex}", name="bench.rows", exec=uuid4().hex, options=Options(unit=unit), title=title
    )
    publisher = get_publisher()
    reporter = CountedReporter(job, publisher.wake)
    token = running.set(reporter)
    try:
        # Watched before it begins: the first answer that the publisher gets says at which interval it speaks.
        waiting = Write("queue", job.key, {**job.lineage, **Reporter(job).texts(State.PENDING)})
        for write in (waiting, *watch_writes([job.key], WATCHED_FOR)):
            get_store().write(write)
        publisher.follow(reporter)
        wait_until(lambda: _state(job.key) == State.STARTED, "the publisher has stored the task")
        yield reporter
    finally:
        running.reset(token)
        reporter.become(State.SUCCESS)
        stop()


def _state(key: str) -> str:
    record = get_store().load(key)
    return "" if record is None else record.state


def wait_until(condition: Callable[[], bool], what: str, seconds: float = 10) -> None:
    """Wait until `condition()` is true. Raises `RuntimeError` after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError(f"Not within {seconds} s: {what}.")
        time.sleep(0.01)
