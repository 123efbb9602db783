"""What was started for rows of a model, as their pages show it: the runs that somebody may see, and their total."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from django.contrib.admin.models import ADDITION, CHANGE, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db.models import Model
from django.utils.translation import gettext

from .admin_runs import Seen, may
from .exceptions import StoreUnavailable
from .history import fold
from .models import TaskRun
from .permissions import VIEW
from .store import Change, get_store
from .words import listed, number_words, state_words
from .workflow import FAILED

RECENT: Final = 20  # runs of one row that its page shows
# As `note` writes it and `started_for` reads it again.
_STARTED: Final = re.compile(r"Started \S+: ([A-Za-z0-9._~-]{1,200})")


@dataclass(frozen=True)
class Shown:
    """A run as a page shows it; `url` leads to its own page, "" = there is none."""

    seen: Seen
    known: dict[str, Any]
    words: str
    url: str = ""


@dataclass(frozen=True)
class Total:
    """How far runs are together, for ``<progress>`` and in words."""

    value: str
    words: str
    failed: bool


def total_of(runs: Sequence[Shown]) -> Total:
    """The total of at least one run, each counting the same; `totalOf` in ``list-words.js`` says the same."""
    ended = sum(bool(run.known.get("final")) for run in runs)
    failed = sum(run.known.get("state") in FAILED for run in runs)
    done = sum(1 if run.known.get("final") else run.known.get("fraction") or 0 for run in runs)
    values = {"count": number_words(ended), "total": number_words(len(runs))}
    of_failed = gettext("%(count)s failed") % {"count": number_words(failed)} if failed else ""
    words = listed(gettext("%(count)s of %(total)s ended") % values, of_failed)
    return Total(f"{done / len(runs):.4g}", words, failed > 0)


def shown_to(user: Any, keys: Sequence[str]) -> list[Shown]:
    """Those of the runs with these keys that there are and that `user` may watch, in this order.

    One question to Redis and one to the table, whatever their number. While Redis is away: what was recorded last.
    """
    try:
        records, reached = dict(zip(keys, get_store().load_many(keys), strict=True)), True
    except StoreUnavailable:
        records, reached = dict.fromkeys(keys), False
    rows = {row.task_id: row for row in TaskRun.objects.filter(task_id__in=keys).order_by("run")}
    found, staff = [], user.has_perm(VIEW)
    for key in keys:
        row, record = rows.get(key), records[key]
        if record is not None:
            newest = fold({} if row is None else {key: [row]}, Change("", key, record, ""))
            row = row if newest is None else newest.row
        if row is None or not may(user, "watch", seen := Seen(row, record, reached)):
            continue
        known = seen.snapshot(staff=staff)
        found.append(Shown(seen, known, state_words(known, None)))
    return found


def parts_of(tree: str) -> list[str]:
    """Keys of the runs that were sent together under this name, the first two hundred.

    Raises `StoreUnavailable` if Redis does not answer and the history knows nothing of them yet.
    """
    away, found = None, []
    try:
        (workflow,) = get_store().load_workflows([tree])
        members = workflow.members if workflow else ()
        # What a part has sent itself is counted in that part.
        records = get_store().load_many(members)
        found = [key for key, record in zip(members, records, strict=True) if record and not record.part_of]
    except StoreUnavailable as error:
        away = error
    if not found:
        rows = TaskRun.objects.filter(tree=tree, parent="").order_by("queued_at", "id")
        found = list(rows.values_list("task_id", flat=True)[:200])
    if not found and away:
        raise away
    return found


def note(user: Any, obj: Model, name: str, key: str, title: str = "") -> list[LogEntry]:
    """The entries that say that `user` started the task `name` for `obj`: one for each of the two. Not saved yet."""
    return [
        LogEntry(
            user_id=user.pk,
            content_type_id=ContentType.objects.get_for_model(obj, for_concrete_model=False).pk,
            object_id=str(obj.pk),
            object_repr=str(obj)[:200],
            action_flag=CHANGE,
            change_message=f"Started {name}: {key}",
        ),
        LogEntry(
            user_id=user.pk,
            content_type_id=ContentType.objects.get_for_model(TaskRun).pk,
            object_id=key,
            object_repr=(title or name)[:200],
            action_flag=ADDITION,
            change_message=f"Started {name} for {obj._meta.verbose_name} {obj}",
        ),
    ]


def started_for(obj: Model) -> list[str]:
    """Keys of the runs that were started for this row, the newest first."""
    content_type = ContentType.objects.get_for_model(obj, for_concrete_model=False)
    entries = LogEntry.objects.filter(
        content_type=content_type, object_id=str(obj.pk), action_flag=CHANGE, change_message__startswith="Started "
    )
    said = entries.order_by("-action_time", "-pk").values_list("change_message", flat=True)[:RECENT]
    return list(dict.fromkeys(match[1] for each in said if (match := _STARTED.fullmatch(each))))


def titles_of(keys: Iterable[str]) -> dict[str, str]:
    """What the runs with these keys are called, as far as Redis says so now."""
    wanted = list(keys)
    try:
        records = get_store().load_many(wanted)
    except StoreUnavailable:
        return {}
    return {
        key: str(record.snapshot().get("title") or "") for key, record in zip(wanted, records, strict=True) if record
    }
