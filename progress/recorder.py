"""The recorder writes the history: what Redis tells of a run becomes a row of `TaskRun`.

It runs in one thread of each process that serves sockets, or in ``manage.py record_runs``; several share the work.
Nobody who enqueues or runs tasks touches the database for it. A change is told again until somebody has written it
down, and writing it twice changes nothing: `seq` says what is newer. While the database is away changes wait in
Redis.
"""

from __future__ import annotations

import atexit
import contextlib
import datetime as dt
import itertools
import logging
import os
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from django.db import (
    IntegrityError,
    InterfaceError,
    OperationalError,
    ProgrammingError,
    close_old_connections,
    connections,
    router,
    transaction,
)

from .conf import conf
from .exceptions import ProgressError, StoreUnavailable
from .history import OPEN, Folded, Rows, fold, forget_old, missed, open_rows
from .models import TaskRun
from .native_thread import NativeThread
from .signals import run_finished
from .store import Change, Changes, get_store

logger = logging.getLogger(__name__)

Application = Callable[[dict[str, Any], Any, Any], Awaitable[None]]

AT_ONCE: Final = 200  # changes written in one transaction
WAIT: Final = 1.0  # seconds that a read waits for news
GATHER: Final = 0.25  # seconds between two batches that are not full: many small ones cost this process more
RETRY_AFTER: Final = (0.5, 1.0, 2.0, 5.0)  # seconds, the last one from then on
LOOK_EVERY: Final = 60.0  # seconds between two looks at rows that have not ended
TIDY_EVERY: Final = 3600.0  # seconds between two removals of old rows
KEEP_EVERY: Final = 5.0  # seconds; whoever says nothing for 30 has its work taken over
LEAVE_WITHIN: Final = 1.0  # seconds that a process waits for what is being written when it leaves

WRITTEN: Final = [field.name for field in TaskRun._meta.concrete_fields if not field.primary_key]

# Not the fault of what is written: away, locked, or not migrated yet.
AWAY: Final = (OperationalError, InterfaceError, ProgrammingError)


class Recorder:
    """Writes down what the store tells, until `stop`. `run` and `record` belong to one thread."""

    def __init__(self) -> None:
        self._changes: Changes | None = None
        self._stopping = threading.Event()
        self._looked = self._tidied = time.monotonic()
        self._oldest: dict[str, dt.datetime | None] = dict.fromkeys(OPEN)  # seen in the last look, of each state
        self.busy = False

    def run(self) -> None:
        """Record until `stop` is called. Whatever fails is tried again."""
        while not self._stopping.is_set():
            self._patiently(self._record_and_look)
        self.close()

    def _record_and_look(self) -> None:
        written = self.record(WAIT)
        if written < AT_ONCE:  # else what seems to be missing may just not be read yet
            self._look_after()
        if 0 < written < AT_ONCE:
            self._stopping.wait(GATHER)
        close_old_connections()

    def stop(self) -> None:
        """Have `run` return soon. From any thread."""
        self._stopping.set()

    def close(self) -> None:
        """Close the connections of this thread."""
        if self._changes is not None:
            self._changes.close()
            self._changes = None
        connections.close_all()

    def record(self, wait: float = 0.0) -> int:
        """Write down what has been told since, at most 200 changes; the answer is how many those were.

        Waits `wait` seconds for the first, and for a database that is away as long as it takes. Raises
        `StoreUnavailable`.
        """
        if self._changes is None:
            self._changes = get_store().open_changes()
        changes = self._changes.read(AT_ONCE, wait)
        self.busy = bool(changes)
        try:
            if changes:
                self._patiently(lambda: write(changes, self._keep(changes)))
                self._patiently(lambda: self._done(changes))
        finally:
            self.busy = False
        return len(changes)

    def record_once(self) -> int:
        """Write down everything that waits, look again and tidy up, without patience; how many changes that were.

        Raises `StoreUnavailable`, and what the database raises. Other connections of this thread stay open.
        """
        written = 0
        changes = self._changes = get_store().open_changes()
        try:
            while found := changes.read(AT_ONCE, 0.0):
                write(found, self._keep(found))
                changes.done(found)
                written += len(found)
            self.look_again()
            if conf.PROGRESS_HISTORY_RETENTION:
                for _ in forget_old(conf.PROGRESS_HISTORY_RETENTION):
                    pass
        finally:
            changes.close()
            self._changes = None
        return written

    def look_again(self) -> None:
        """Compare some rows that have not ended with what Redis knows now: a change may never have been told."""
        for state in OPEN:
            rows = open_rows(state, self._oldest[state], AT_ONCE)
            self._oldest[state] = rows[-1].queued_at if len(rows) == AT_ONCE else None
            records = get_store().load_many([row.task_id for row in rows])
            found = [missed(row, record) for row, record in zip(rows, records, strict=True)]
            if changes := [change for change in found if change is not None]:
                write(changes)

    def _look_after(self) -> None:
        now = time.monotonic()
        if now - self._looked >= LOOK_EVERY:
            self._looked = now
            self.look_again()
        if conf.PROGRESS_HISTORY_RETENTION and now - self._tidied >= TIDY_EVERY:
            self._tidied = now
            for _ in forget_old(conf.PROGRESS_HISTORY_RETENTION):
                if self._stopping.is_set():
                    return

    def _patiently(self, work: Callable[[], object]) -> None:
        """Do it again until it succeeds. What was told to us waits here as long as the database is away."""
        for failures in itertools.count():
            pause = RETRY_AFTER[min(failures, len(RETRY_AFTER) - 1)]
            try:
                work()
                return
            except (*AWAY, ProgressError) as error:
                if failures == 0:
                    logger.warning("The history of runs is written later: %s", error)
            except Exception:
                logger.exception("The history of runs could not be written")
                pause = RETRY_AFTER[-1]
            with contextlib.suppress(Exception):
                close_old_connections()
            if self._stopping.wait(pause):
                return

    def _done(self, changes: Sequence[Change]) -> None:
        if self._changes is not None:
            self._changes.done(changes)

    def _keep(self, changes: Sequence[Change]) -> Callable[[], None]:
        """Says now and then that we are still at it, or another recorder takes these over and tells them again."""
        kept = time.monotonic()

        def keep() -> None:
            nonlocal kept
            if self._changes is not None and time.monotonic() - kept > KEEP_EVERY:
                kept = time.monotonic()
                with contextlib.suppress(StoreUnavailable):
                    self._changes.keep(changes)

        return keep


def write(changes: Sequence[Change], keep: Callable[[], None] = lambda: None) -> None:
    """Write these down and tell of the runs that have ended. Raises what a database raises that is away.

    What cannot be kept for a reason of its own is logged and left out; the others are kept. `keep` is called between
    the receivers of `run_finished`, which may take their time.
    """
    try:
        folded = _save(changes)
    except Exception as error:
        if isinstance(error, (*AWAY, ProgressError)) and not _database_takes_writes():
            raise
        if len(changes) == 1:
            logger.exception("A change of task %r cannot be kept in the history", changes[0].key)
            return
        for change in changes:
            write([change], keep)
        return
    for each in folded:
        if each.ended is not None:
            each.ended.pk = each.row.pk
            _tell(each.ended)
            keep()


def _database_takes_writes() -> bool:
    """True if the table is there and nothing keeps us from writing: then what failed is the fault of a change."""
    using = router.db_for_write(TaskRun)
    try:
        with transaction.atomic(using=using):
            TaskRun.objects.using(using).filter(pk=0).update(seq=0)
    except Exception:  # noqa: BLE001 (any database)
        return False
    return True


def _save(changes: Sequence[Change]) -> list[Folded]:
    try:
        return _save_together(changes)
    except (IntegrityError, OperationalError):
        # Another recorder made one of these rows at the same moment, or had locked one that we have locked, too.
        return _save_together(changes)


def _save_together(changes: Sequence[Change]) -> list[Folded]:
    using = router.db_for_write(TaskRun)
    table = TaskRun.objects.using(using)
    with transaction.atomic(using=using):
        known = table.select_for_update().filter(task_id__in={change.key for change in changes}).order_by("pk")
        rows: Rows = {}
        for row in known:
            rows.setdefault(row.task_id, []).append(row)
        folded = [each for change in changes if (each := fold(rows, change)) is not None]
        touched = list({id(each.row): each.row for each in folded}.values())
        new, old = [row for row in touched if row.pk is None], [row for row in touched if row.pk is not None]
        # In one order, as above: two recorders that hold the same runs wait for each other, and not in a circle.
        table.bulk_create(sorted(new, key=lambda row: (row.task_id, row.run)))
        if connections[using].features.supports_update_conflicts_with_target:
            table.bulk_create(old, update_conflicts=True, unique_fields=["id"], update_fields=WRITTEN)
        else:
            for row in old:
                row.save(using=using, update_fields=WRITTEN)
    return folded


def _tell(row: TaskRun) -> None:
    for receiver, answer in run_finished.send_robust(TaskRun, run=row):
        if isinstance(answer, Exception):
            name = getattr(receiver, "__qualname__", repr(receiver))
            logger.error("%s failed when a run had finished: %r", name, answer, exc_info=answer)


def with_recorder(application: Application) -> Application:
    """An ASGI application whose process records from its first connection on. `with_progress` has it already."""

    async def recorded(scope: dict[str, Any], receive: Any, send: Any) -> None:
        start_in_server()  # here, not above: importing an ASGI application must start no thread
        await application(scope, receive, send)

    return recorded


_here: tuple[int, Recorder, NativeThread] | None = None  # of this process, by its number
_lock = threading.Lock()


def start_in_server() -> None:
    """Have this process record, if `PROGRESS_RECORDER` says that servers do. Cheap to call again."""
    global _here
    if (_here is not None and _here[0] == os.getpid()) or conf.PROGRESS_RECORDER != "server":
        return
    if conf.PROGRESS_STORE == "memory":  # a test suite: `progress.testing.record_runs` records where it is asked to
        return
    with _lock:
        if _here is not None and _here[0] == os.getpid():
            return
        recorder = Recorder()
        thread = NativeThread(recorder.run, "progress-recorder")
        _here = (os.getpid(), recorder, thread)
        thread.start()
    atexit.register(stop_in_server)


def stop_in_server() -> None:
    """End the recorder of this process; what is being written is finished first, within a second."""
    global _here
    found, _here = _here, None
    if found is not None and found[0] == os.getpid():
        _, recorder, thread = found
        recorder.stop()
        if recorder.busy:
            thread.join(LEAVE_WITHIN)
