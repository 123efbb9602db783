"""How staff find a run among a million: filters, search and pages that the table's indexes answer.

Nothing here counts the table, sorts by anything but the time of queueing, or looks into the middle of a text.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from functools import cached_property, reduce
from operator import or_
from typing import TYPE_CHECKING, Any, Final

from django.contrib import admin
from django.core.paginator import Paginator
from django.db import connections
from django.db.models import Q, QuerySet, Subquery, Value
from django.db.models.functions import Concat
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext, gettext_lazy

from . import snapshot
from .admin_runs import owner_called, user_names
from .admin_timeline import STATES
from .models import TaskRun
from .options import options_of
from .owners import owner_id
from .runnable import known_tasks
from .snapshot import State

COUNTED: Final = 10_000  # runs, at most; to count more would read them all
PREFIX_NAMES: Final = 5  # names of tasks that the beginning of a name may mean
TELLING: Final = ("task_id", "tree", "owner", "name", "state")  # columns, from the one that singles out most
COLUMNS: Final[dict[str, Any]] = {
    "owner": gettext_lazy("owner"),
    "name": gettext_lazy("name"),
    "state": gettext_lazy("state"),
}
NOBODY: Final = "-"  # in the address of a page; no primary key is written so

if TYPE_CHECKING:
    RunPaginator = Paginator[TaskRun]
else:
    RunPaginator = Paginator


class BoundedPaginator(RunPaginator):
    """Pages of the newest 10 000 rows that fit; `more` says that there are others. Never counts further."""

    more = False

    @cached_property
    def count(self) -> int:
        """How many rows fit, 10 000 at most."""
        if not isinstance(self.object_list, QuerySet):
            return len(self.object_list)
        # In the order of an index, which stops at the limit; without one, a database may read the table instead.
        found = self.object_list[: COUNTED + 1].count()
        self.more = found > COUNTED
        return min(found, COUNTED)


class StateFilter(admin.SimpleListFilter):
    """By state."""

    title = gettext_lazy("state")
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """All states, in the order in which a task has them."""
        return [(state.value, str(STATES[state])) for state in State]

    def queryset(self, request: HttpRequest, queryset: QuerySet[TaskRun]) -> QuerySet[TaskRun]:
        """Runs in that state."""
        return asked_of(request).equal(queryset, "state", self.value())


class NameFilter(admin.SimpleListFilter):
    """By task. The choices are the tasks that this site knows: to ask the table for names would read all of it."""

    title = gettext_lazy("task")
    parameter_name = "task"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """The names of the tasks that are tracked, and the one that was chosen."""
        names = dict.fromkeys(tracked_names())
        if (chosen := self.value()) is not None:
            names[chosen] = None
        return [(name, name) for name in names]

    def queryset(self, request: HttpRequest, queryset: QuerySet[TaskRun]) -> QuerySet[TaskRun]:
        """Runs of that task."""
        return asked_of(request).equal(queryset, "name", self.value())


class OwnerFilter(admin.SimpleListFilter):
    """By owner: one's own, nobody's, or those of the person whose name was clicked in a row."""

    title = gettext_lazy("owner")
    parameter_name = "owner"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Mine, nobody's, and whoever was chosen."""
        mine = owner_id(request.user)
        found = [(mine, gettext("Mine")), (NOBODY, gettext("Nobody's"))]
        chosen = self.value()
        if chosen is not None and chosen not in (mine, NOBODY):
            found.append((chosen, user_names([chosen]).get(chosen, chosen)))
        return found

    def queryset(self, request: HttpRequest, queryset: QuerySet[TaskRun]) -> QuerySet[TaskRun]:
        """Runs of that owner."""
        chosen = self.value()
        return asked_of(request).equal(queryset, "owner", "" if chosen == NOBODY else chosen)


class QueuedFilter(admin.SimpleListFilter):
    """By the day on which it was queued, in the time zone of the site."""

    title = gettext_lazy("queued")
    parameter_name = "queued"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Today, and the last days up to now."""
        return [
            ("today", gettext("Today")),
            ("week", gettext("Past 7 days")),
            ("month", gettext("Past 30 days")),
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[TaskRun]) -> QuerySet[TaskRun]:
        """Runs that were queued since."""
        days = {"today": 0, "week": 7, "month": 30}.get(self.value() or "")
        if days is None:
            return queryset
        midnight = timezone.localtime().replace(hour=0, minute=0, second=0, microsecond=0)
        asked_of(request).since = midnight - dt.timedelta(days=days)
        return queryset.filter(queued_at__gte=midnight - dt.timedelta(days=days))


class TreeFilter(admin.SimpleListFilter):
    """By workflow: only there when a link of a run's page has chosen one."""

    title = gettext_lazy("workflow")
    parameter_name = "tree"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """The one that was chosen."""
        chosen = self.value()
        return [(chosen, chosen if len(chosen) < 20 else f"{chosen[:17]}…")] if chosen else []

    def queryset(self, request: HttpRequest, queryset: QuerySet[TaskRun]) -> QuerySet[TaskRun]:
        """Runs of that workflow."""
        return asked_of(request).equal(queryset, "tree", self.value())


FILTERS: Final = (StateFilter, NameFilter, OwnerFilter, QueuedFilter, TreeFilter)
PARAMETERS: Final = frozenset(each.parameter_name for each in FILTERS)


def tracked_names() -> list[str]:
    """The names of the tasks that this process knows and whose runs are kept, in alphabetical order."""
    tasks = known_tasks()
    return [name for name in sorted(tasks) if options_of(name, tasks[name].run).track]


def search(request: HttpRequest, queryset: QuerySet[TaskRun], term: str) -> QuerySet[TaskRun]:
    """The runs that `term` means: a task's id, else the beginning of a task's name, else a user's name.

    Only the first of these that fits counts, so that one index answers.
    """
    term, asked = term.strip(), asked_of(request)
    if not term:
        return queryset
    key = snapshot.address(term)
    if TaskRun.objects.filter(task_id=key).exists():
        return asked.equal(queryset, "task_id", key)
    names = [name for name in tracked_names() if name.startswith(term)]
    if term in names or len(names) == 1:
        return asked.equal(queryset, "name", term if term in names else names[0])
    if names:
        asked.names = names[:PREFIX_NAMES]
        if (left_out := len(names) - PREFIX_NAMES) > 0:
            asked.said = gettext(
                "The names of %(count)s tasks begin with “%(term)s”. These are the runs of %(names)s; "
                "write more of the name to see the other %(others)s."
            ) % {"count": len(names), "term": term, "names": gettext(", ").join(asked.names), "others": left_out}
        return queryset.filter(name__in=asked.names)
    if owner := owner_called(term):
        return asked.equal(queryset, "owner", owner)
    return asked.equal(queryset, "name", term)  # of a task that this site no longer knows


@dataclass
class Asked:
    """What filters and search ask for, so that together they take one index, and read no more than pages can show."""

    pairs: list[tuple[str, str]] = field(default_factory=list)  # column and value
    names: list[str] = field(default_factory=list)  # of tasks, several of which may be meant
    since: dt.datetime | None = None
    said: str = ""  # what the person should know of it

    def equal(self, queryset: QuerySet[TaskRun], column: str, value: str | None) -> QuerySet[TaskRun]:
        """The rows of `queryset` with this value; None is no condition."""
        if value is None:
            return queryset
        self.pairs.append((column, value))
        return queryset.filter(**{column: value})

    def answer(self, rows: QuerySet[TaskRun]) -> QuerySet[TaskRun]:
        """All of it. Where several conditions meet, the most telling one is read from its index, the newest 10 000
        rows at most, and the others are held against those: a database that knows no statistics may choose worse.
        """
        if self.since is not None:
            rows = rows.filter(queued_at__gte=self.since)
        if not connections[rows.db].features.allow_sliced_subqueries_with_in:
            several = {"name__in": self.names} if self.names else {}
            return rows.filter(*(Q(pair) for pair in self.pairs), **several)
        if len(self.pairs) < 2 and not self.names:
            return rows.filter(*(Q(pair) for pair in self.pairs))
        first = [("name", name) for name in self.names] or [self._most_telling(rows)]
        # Each is read from its index, in order, and no further than pages can be turned.
        newest = [rows.filter(Q(pair))[: COUNTED + 1].values("pk") for pair in first]
        found = TaskRun.objects.using(rows.db)
        if len(newest) > 1 and connections[rows.db].features.supports_slicing_ordering_in_compound:
            found = found.filter(
                pk__in=newest[0].union(*newest[1:], all=True)
            )  # PostgreSQL scans for one "or" another
        else:
            found = found.filter(reduce(or_, (Q(pk__in=each) for each in newest)))
        for number, (column, value) in enumerate(pair for pair in self.pairs if pair not in first):
            # As an expression, which no index answers: it must not come first.
            found = found.alias(**{f"asked_{number}": Concat(column, Value(""))}).filter(**{f"asked_{number}": value})
        return found

    def _most_telling(self, rows: QuerySet[TaskRun]) -> tuple[str, str]:
        """The condition that the fewest rows meet, as far as 10 000 are few. One query."""
        ordered = sorted(self.pairs, key=lambda pair: TELLING.index(pair[0]))
        if ordered[0][0] in TELLING[:2]:
            return ordered[0]
        newest = [rows.filter(Q(pair)).order_by("-queued_at", "-id").values("pk") for pair in ordered]
        # In the order of the index: without one, a database may begin at the other end of the table.
        beyond = {f"beyond_{n}": Subquery(found[COUNTED : COUNTED + 1]) for n, found in enumerate(newest)}
        for answers in TaskRun.objects.using(rows.db).annotate(**beyond).values_list(*beyond)[:1]:
            for pair, one_more in zip(ordered, answers, strict=True):
                if one_more is None:
                    return pair
        column, value = ordered[0]
        self.said = gettext(
            "Each of these conditions fits more than %(counted)s runs. The newest %(counted)s whose %(column)s is "
            "“%(value)s” were looked through; filter by date or by more to see others."
        ) % {"counted": COUNTED, "column": COLUMNS.get(column, column), "value": value or gettext("nobody")}
        return ordered[0]


def asked_of(request: HttpRequest) -> Asked:
    """What this request asks for."""
    found: Asked = request.__dict__.setdefault("task_progress_asked", Asked())
    return found
