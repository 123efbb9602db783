"""One run as staff see it: its row, brought up to date with what Redis knows of it now."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.utils.translation import gettext

from .authorize import Run, allowed
from .claims import Claim
from .exceptions import StoreUnavailable
from .history import fold, run_of
from .models import TaskRun
from .record import Record
from .store import Change, get_store

LINES: Final = 200  # of the log, in a page without JavaScript


@dataclass
class Seen:
    """A run: its `row` (not saved, if the recorder has not written it yet), and the live `record` of that run."""

    row: TaskRun
    record: Record | None = None  # None: Redis has none of this run, or does not answer
    reached: bool = True  # Redis answered
    owner: str = field(default="", compare=False)  # the name of the user, as far as it was looked up

    @property
    def live(self) -> bool:
        """True if elements that watch the run's key show this very run, or will when Redis is back."""
        return self.record is not None or not (self.reached or self.row.final)

    def snapshot(self, *, staff: bool) -> dict[str, Any]:
        """The newest snapshot that is known, in the public or the staff view."""
        found = self.row.snapshot(staff=staff)
        return found or {"state": self.row.state, "final": self.row.final, "name": self.row.name}


def find(key: str, number: int | None = None) -> Seen | None:
    """The run `number` of a key, the newest one without; None if there is none. Asks Redis and the table, once each.

    Raises `StoreUnavailable` if the table has no row and Redis does not answer, so nobody knows.
    """
    record, reached = None, True
    try:
        record = get_store().load(key)
    except StoreUnavailable:
        reached = False
    rows = TaskRun.objects.filter(task_id=key).order_by("-run")
    row = (rows if number is None else rows.filter(run=number)).first()
    if record is not None and row is not None and run_of([row], record) is None and number is not None:
        record = None  # of another run by this id
    if row is None and record is not None and number not in (None, record.run):
        record = None
    known = _up_to_date(key, row, record)
    if known is None and not reached:
        said = gettext("Redis does not answer, and the history does not know %(id)s yet. Try again.")
        raise StoreUnavailable(said % {"id": key})
    return None if known is None else Seen(known, record, reached)


def with_records(rows: Sequence[TaskRun]) -> list[Seen]:
    """The rows of a page, each with its live record: one question to Redis, whatever their number."""
    try:
        records = get_store().load_many([row.task_id for row in rows])
    except StoreUnavailable:
        return [Seen(row, None, reached=False) for row in rows]
    found = []
    for row, loaded in zip(rows, records, strict=True):
        record = loaded if loaded is not None and run_of([row], loaded) is not None else None
        if record is not None and record.seq > row.seq:
            row.state, row.attempt = str(record.state), record.attempt
            row.public, row.staff = record.texts()
        found.append(Seen(row, record))
    return found


def _up_to_date(key: str, row: TaskRun | None, record: Record | None) -> TaskRun | None:
    if record is None or not record.seq:
        return row
    folded = fold({} if row is None else {key: [row]}, Change("", key, record, ""))
    return row if folded is None else folded.row


def user_names(owners: Iterable[str]) -> dict[str, str]:
    """What the users with these primary keys (as text) are called, for those that exist. One query, or none."""
    model = get_user_model()
    wanted: dict[Any, str] = {}
    for owner in {each for each in owners if each}:
        try:
            wanted[model._meta.pk.to_python(owner)] = owner
        except ValidationError:  # "somebody", or a key of another user model
            continue
    if not wanted:
        return {}
    found = model._default_manager.filter(pk__in=list(wanted))
    return {wanted[user.pk]: user.get_username() for user in found if user.pk in wanted}


def owner_called(name: str) -> str:
    """The owner, as rows write it, who has this user name; "" if nobody has."""
    model = get_user_model()
    found = model._default_manager.filter(**{model.USERNAME_FIELD: name}).values_list("pk", flat=True).first()
    return "" if found is None else str(found)


def log_lines(key: str) -> list[dict[str, str]]:
    """The newest lines of a task's log, oldest first, as ``task-log.js`` words them; none while Redis is away."""
    try:
        lines = get_store().logs(key, None, LINES).lines
    except StoreUnavailable:
        return []
    silent = [line["level"] == "INFO" or line["text"].startswith(line["level"]) for line in lines]
    return [
        line if said else {**line, "text": f"{line['level']} {line['text']}"}
        for line, said in zip(lines, silent, strict=True)
    ]


def may(user: Any, action: str, seen: Seen) -> bool:
    """True if the user may do this with the run (an action of `authorize.allowed`), and may watch it at all."""
    row = seen.row
    run = Run(row.task_id, row.name, row.owner, row.tree, row.title, row.snapshot())
    if action in ("cancel", "terminate") and seen.record is not None and not Claim.of(seen.record).cancellable:
        return False
    return allowed(user, "watch", run) and (action == "watch" or allowed(user, action, run))
