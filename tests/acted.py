"""Tasks without a worker: a test writes to the store and sends hints as a worker would, step by step."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from progress import groups
from progress.exceptions import StoreUnavailable
from progress.options import Options
from progress.publisher import get_publisher
from progress.record import Record
from progress.reporter import Job, Reporter
from progress.snapshot import State, key
from progress.store import Answer, Write, get_store
from tests.processes import wait_until


class ActedTask:
    """One task whose life the test plays. With `hints=False` nobody is told: every push is lost."""

    def __init__(
        self, task_id: str = "", *, owner: str = "", tree: str = "", hints: bool = True, **options: Any
    ) -> None:
        self.id = task_id or str(uuid4())
        self.key = key(self.id)
        self.owner, self.tree, self.hints = owner, tree, hints
        job = Job(key=self.key, name="tests.acted", exec="e1", options=Options(**options), owner=owner)
        self.reporter = Reporter(job)
        self.head: Record | None = None
        self.n = 0

    def queue(self) -> ActedTask:
        """It was sent."""
        args = {"owner": self.owner, "tree": self.tree, "history": 1, **self.reporter.texts(State.PENDING)}
        answer = self._write("queue", args)
        if answer.accepted and self.owner and self.hints:
            hint = groups.hint(self.key, answer.head.seq)
            get_publisher().announce(groups.of_owner(self.owner), hint)
        return self

    def run(self, current: float = 0, total: float | None = None, state: State = State.PROGRESS) -> ActedTask:
        """It has come so far."""
        self.reporter.update(current=current, total=total)
        return self._save(state)

    def end(
        self, state: State = State.SUCCESS, *, result: Any = None, error: BaseException | None = None
    ) -> ActedTask:
        """It is over."""
        self.reporter.become(state, result=result, error=error)
        return self._save(state)

    async def log(self, *lines: str) -> ActedTask:
        """It says something; the next `run` or `end` tells where the log has got to."""
        store: Any = get_store()
        self.reporter.logs_to = await store.aappend_logs(self.key, [("INFO", line) for line in lines])
        if hasattr(store, "aclose"):  # the connection of this test's event loop must not outlive it
            await store.aclose()
        return self

    def _save(self, state: State) -> ActedTask:
        self.n += 1
        head = self.head or Record()
        self._write(
            "save",
            {
                "exec": "e1",
                "fence": head.fence if head.exec else 0,
                "n": self.n,
                "age": 0,
                "state": str(state),
                "attempt": head.attempt,
                "run": head.run,
                "owner": self.owner,
                "tree": self.tree,
                "history": 1,
                "seen": head.seq,
                **self.reporter.texts(state),
            },
        )
        return self

    def _write(self, op: str, args: dict[str, Any]) -> Answer:
        answer = wait_until(lambda: _written(Write(op, self.key, args)), 5, "Redis takes a write")
        if answer.accepted:
            self.head = answer.head
            if self.hints:
                self.announce()
        return answer

    def announce(self) -> None:
        """Say that there is something new, with the snapshot in the event."""
        record = get_store().load(self.key)
        assert record is not None
        event = groups.hint(self.key, record.seq, *record.texts())
        get_publisher().announce(groups.of_key(self.key), event)


def _written(write: Write) -> Answer | None:
    """The answer; None if there was none within the 50 ms that a request may lose: a test can wait."""
    try:
        return get_store().write(write)
    except StoreUnavailable:
        return None
