"""From what Redis tells of a run to its row in `TaskRun`, and from a row back to how a run ended."""

from __future__ import annotations

import copy
import datetime as dt
import json
import logging
from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple

from . import snapshot
from .conf import conf
from .models import CANCELLING, TaskRun
from .record import TEXTS, Record
from .snapshot import FINAL, State
from .store import Change, Write

logger = logging.getLogger(__name__)

OPEN: Final = tuple(sorted(set(State) - FINAL))
MAX_STATES: Final = 100  # kept of one run: the first ten and the last ninety
LOST_STAYS: Final = dt.timedelta(days=8)  # a record that nobody writes lives for seven, then nothing can heal
GONE_AFTER: Final = dt.timedelta(minutes=2)  # without a record; a worker that lives writes a lost one within seconds

Rows = dict[str, list[TaskRun]]  # by task id, of each all that are known


class Folded(NamedTuple):
    """A change that was taken into a row. `ended`: the row as of that change, if the run ended then, or was lost."""

    row: TaskRun
    ended: TaskRun | None


def fold(rows: Rows, change: Change) -> Folded | None:
    """Take `change` into the row that it belongs to, made if there is none; None if it is no change of ours.

    Changes may come twice and in any order: what is older than the row is only written into the list of its states.
    """
    record = change.record
    if not change.key or record.seq <= 0 or record.state not in set(State):
        logger.warning("The stream of changes holds something else; whoever wrote it should use another prefix")
        return None
    known = rows.setdefault(change.key, [])
    row = run_of(known, record)
    if row is None:
        taken = {each.run for each in known}
        # Redis counts from 1 again when it has forgotten the run before.
        run = record.run if record.run not in taken else max(taken) + 1
        row = TaskRun(task_id=change.key, run=run, states=[])
        known.append(row)
    row.states = _with_state(row.states, record)
    if record.seq > row.seq:
        _set(row, record)
    if change.arguments:
        row.arguments = json.loads(change.arguments)
    ended = None
    if record.ended or record.state == State.LOST:
        ended = copy.copy(row)
        _set(ended, record)
    return Folded(row, ended)


def run_of(rows: Iterable[TaskRun], record: Record) -> TaskRun | None:
    """Which of the rows of one task id is of the run that `record` is of; None if none is.

    The same beginning says so. A step that waited begins twice, and a record that was lost may have forgotten when:
    then it is the first run that has not ended before this record's beginning, unless Redis has counted on since.
    """
    begun = _begun(record)
    in_order = sorted((row for row in rows if row.queued_at), key=lambda row: row.queued_at)
    for row in in_order:
        if row.queued_at == begun and record.run <= row.run:
            return row
    for row in in_order:
        if record.run <= row.run and (not _is_over(row) or begun <= _last(row)):
            return row
    return None


def _begun(record: Record) -> dt.datetime:
    return _moment(record.queued_at or record.started_at or record.updated_at or record.seq)


def _is_over(row: TaskRun) -> bool:
    return row.final or row.state == State.LOST


def _last(row: TaskRun) -> dt.datetime:
    """When it was last heard of."""
    told = [row.queued_at, row.finished_at, *(_moment(item[1]) for item in row.states)]
    return max(moment for moment in told if moment is not None)


def _set(row: TaskRun, record: Record) -> None:
    row.public, row.staff = record.texts()
    told = json.loads(row.staff)
    row.seq, row.state, row.attempt = record.seq, str(record.state), record.attempt
    row.owner, row.cancelled_by = record.owner[:255], record.control[:255]
    row.queue, row.tree = record.queue[:200], record.tree[:200]
    row.name, row.title = str(told.get("name") or "")[:200], str(told.get("title") or "")[:300]
    row.worker = str(told.get("worker") or "")[:255]
    if told.get("parent") != row.task_id:  # to Celery, who tries again has sent itself
        row.parent = str(told.get("parent") or "")[:200]
    row.queued_at = _begun(record)
    row.started_at = _moment(record.started_at) if record.started_at else None
    row.finished_at = _moment(record.finished_at) if record.finished_at else None


def _with_state(states: list[list[Any]], record: Record) -> list[list[Any]]:
    # A lost task was last heard of at `updated_at`; that it was given up is as old as the record's number.
    at = record.seq if record.state == State.LOST else record.updated_at
    items = {(item[0], item[2]): item for item in states}
    items[record.seq, str(record.state)] = [record.seq, at, str(record.state), record.attempt]
    asked = next((place for place in items if place[1] == CANCELLING), None)
    if record.control and (asked is None or record.seq < asked[0]):
        if asked is not None:
            del items[asked]
        items[record.seq, CANCELLING] = [record.seq, at, CANCELLING, record.attempt]
    ordered = [items[place] for place in sorted(items)]
    return ordered if len(ordered) <= MAX_STATES else [*ordered[:10], *ordered[10 - MAX_STATES :]]


def open_rows(state: str, before: dt.datetime | None, limit: int) -> list[TaskRun]:
    """Rows in a state that is no end, the newest first, from those that were queued before a moment on."""
    rows = TaskRun.objects.filter(state=state)
    if state == State.LOST:
        rows = rows.filter(queued_at__gte=dt.datetime.now(dt.UTC) - LOST_STAYS)
    return list((rows if before is None else rows.filter(queued_at__lt=before))[:limit])


def missed(row: TaskRun, record: Record | None) -> Change | None:
    """What the recorder was never told about a row that has not ended, as far as Redis's record says it now."""
    if record is None or run_of([row], record) is None:  # Redis knows nothing of it, or a later run by this id
        last = _last(row)
        if row.state == State.LOST or dt.datetime.now(dt.UTC) - last < GONE_AFTER:
            return None
        return Change("", row.task_id, _gone(row, last), "")
    if record.seq > row.seq and (record.state, record.attempt) != (row.state, row.attempt):
        return Change("", row.task_id, record, "")
    return None


def _gone(row: TaskRun, last: dt.datetime) -> Record:
    told = json.loads(row.staff or "{}")
    return Record(
        seq=row.seq + 1,
        run=row.run,
        attempt=row.attempt,
        state=State.LOST,
        owner=row.owner,
        control=row.cancelled_by,
        queue=row.queue,
        tree=row.tree,
        queued_at=_micro(row.queued_at),
        started_at=_micro(row.started_at),
        updated_at=_micro(last),
        body=snapshot.encode({name: told.get(name) for name in ("id", "name", "title", "parent", "root")})[1:-1],
        staff=snapshot.encode({"worker": row.worker})[1:-1],
    )


def forget_old(seconds: int, at_once: int = 1000) -> Iterator[int]:
    """Delete runs that were queued longer ago than `seconds` and are over. Yields how many, batch by batch."""
    before = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=seconds)
    over = TaskRun.objects.filter(queued_at__lt=before).exclude(state__in=set(OPEN) - {State.LOST})
    while batch := list(over.order_by("queued_at", "id").values_list("pk", flat=True)[:at_once]):
        TaskRun.objects.filter(pk__in=batch).delete()
        yield len(batch)


def end_of(key: str, record: Record) -> Write | None:
    """The verdict that the history has on an execution of which Redis knows no end; None if it has none.

    Redis may have lost an end that was written down: a replica took over that was behind.
    """
    if not conf.PROGRESS_RECORDER:
        return None
    try:
        row = run_of(TaskRun.objects.filter(task_id=key), record)
    except Exception as error:  # noqa: BLE001 (any database; others may know)
        logger.debug("The history could not be asked how %s ended: %s", key, error)
        return None
    # Of this execution, not of one before: its fence is the number with which it began.
    if row is None or not row.final or row.attempt != record.attempt or row.seq <= record.fence:
        return None
    kept = ("exec", "owner", "tree", "group", "part_of", "weight", "history", *TEXTS)
    ended = {name: getattr(record, name) for name in kept}
    outcomes = {"outcome": _outcome(row.snapshot()), "outcome_staff": _outcome(row.snapshot(staff=True))}
    return Write("verdict", key, {**ended, "state": row.state, "seen": row.seq, **outcomes})


def _outcome(told: dict[str, Any]) -> str:
    found = {name: told[name] for name in ("error", "result") if told.get(name) is not None}
    return snapshot.encode(found)[1:-1] if found else ""


def _moment(microseconds: int) -> dt.datetime:
    return dt.datetime.fromtimestamp(microseconds / 1_000_000, dt.UTC)


def _micro(moment: dt.datetime | None) -> int:
    return int(moment.timestamp() * 1_000_000) if moment else 0
