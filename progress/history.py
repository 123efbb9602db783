"""From what Redis tells of a run to its row in `TaskRun`, and from a row back to how a run ended."""

from __future__ import annotations

import datetime as dt
import json
import logging
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from django.db import DatabaseError

from . import snapshot
from .conf import conf
from .models import CANCELLING, TaskRun
from .record import TEXTS, Record
from .snapshot import FINAL, State
from .store import Change, Write

logger = logging.getLogger(__name__)

OPEN: Final = tuple(sorted(set(State) - FINAL))
MAX_STATES: Final = 100  # kept of one run: the first ten and the last ninety
FORGOTTEN_BY_REDIS: Final = dt.timedelta(days=8)  # a record that nobody writes lives for seven
GONE_AFTER: Final = dt.timedelta(minutes=2)  # without a record; a worker that lives writes a lost one within seconds

Rows = dict[tuple[str, int], TaskRun]  # by task id and run


class Folded(NamedTuple):
    """A change that was taken into a row. `ended`: it says that the run ended, or is presumed lost."""

    row: TaskRun
    ended: bool


def fold(rows: Rows, change: Change) -> Folded | None:
    """Take `change` into the row that it belongs to, made if there is none; None if it is no change of ours.

    Changes may come twice and in any order: what is older than the row is only written into the list of its states.
    """
    record = change.record
    if not change.key or record.seq <= 0 or record.state not in set(State):
        logger.warning("The stream of changes holds something else; whoever wrote it should use another prefix")
        return None
    place = (change.key, record.run)
    row = rows.get(place)
    if row is None:
        row = rows[place] = TaskRun(task_id=change.key, run=record.run, states=[])
    row.states = _with_state(row.states, record)
    if record.seq > row.seq:
        _set(row, record)
    if change.arguments:
        row.arguments = json.loads(change.arguments)
    return Folded(row, record.ended or record.state == State.LOST)


def _set(row: TaskRun, record: Record) -> None:
    row.public, row.staff = record.text(), record.text(staff=True)
    told = json.loads(row.staff)
    row.seq, row.state, row.attempt = record.seq, str(record.state), record.attempt
    row.owner, row.cancelled_by = record.owner[:255], record.control[:255]
    row.queue, row.tree = record.queue[:200], record.tree[:200]
    row.name, row.title = str(told.get("name") or "")[:200], str(told.get("title") or "")[:300]
    row.worker, row.parent = str(told.get("worker") or "")[:255], str(told.get("parent") or "")[:200]
    row.queued_at = _moment(record.queued_at or record.started_at or record.updated_at or record.seq)
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
    since = dt.datetime.now(dt.UTC) - FORGOTTEN_BY_REDIS
    rows = TaskRun.objects.filter(state=state, queued_at__gte=since)
    return list((rows if before is None else rows.filter(queued_at__lt=before))[:limit])


def missed(row: TaskRun, record: Record | None) -> Change | None:
    """What the recorder was never told about a row that has not ended, as far as Redis's record says it now."""
    if record is None:
        last = _moment(row.states[-1][1]) if row.states else row.queued_at
        if row.state == State.LOST or dt.datetime.now(dt.UTC) - last < GONE_AFTER:
            return None
        told = json.loads(row.staff or "{}")
        gone = Record(
            seq=row.seq + 1,
            run=row.run,
            attempt=row.attempt,
            state=State.LOST,
            owner=row.owner,
            tree=row.tree,
            queued_at=_micro(row.queued_at),
            started_at=_micro(row.started_at),
            updated_at=_micro(last),
            body=snapshot.encode({name: told.get(name) for name in ("id", "name", "title", "parent", "root")})[1:-1],
        )
        return Change("", row.task_id, gone, "")
    if record.run == row.run and record.seq > row.seq and (record.state, record.attempt) != (row.state, row.attempt):
        return Change("", row.task_id, record, "")
    return None


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
        row = TaskRun.objects.filter(task_id=key, run=record.run, state__in=FINAL).first()
    except DatabaseError as error:
        logger.debug("The history could not be asked how %s ended: %s", key, error)
        return None
    if row is None or row.attempt != record.attempt:
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
