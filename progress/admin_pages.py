"""The pages of one run: live, with its log and its timeline, also before the recorder has written it down."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from django.contrib import admin, messages
from django.contrib.admin.models import LogEntry
from django.contrib.admin.utils import quote, unquote
from django.contrib.contenttypes.models import ContentType
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import get_script_prefix, reverse
from django.utils import timezone
from django.utils.http import urlencode
from django.utils.translation import gettext, gettext_lazy

from . import snapshot
from .admin_runs import Seen, find, log_lines, may, user_names
from .admin_timeline import STATES, span, steps, strip
from .exceptions import StoreUnavailable
from .models import TaskRun
from .permissions import VIEW
from .runnable import may_start, runnable_tasks
from .words import state_words

if TYPE_CHECKING:
    ModelAdmin = admin.ModelAdmin[TaskRun]
else:
    ModelAdmin = admin.ModelAdmin  # Django's own takes no type arguments at run time

OTHERS: Final = 20  # other runs of a re-used id that are listed
LINE: Final = 80  # characters; what is longer is written on several lines
AWAY: Final = gettext_lazy("Redis does not answer: what is shown is what was recorded last.")


class Fact(NamedTuple):
    """A line about a run: what it is, what it says, and where it leads ("" = nowhere)."""

    label: str
    text: str
    url: str = ""
    code: bool = False


class Argument(NamedTuple):
    """An argument of a call: as JSON, or why it is not shown."""

    name: str
    text: str
    kept: bool = True


class Named(NamedTuple):
    """Stands for a run in Django's own templates, which make links of ``pk``: ours lead to the task's key."""

    pk: str
    title: str

    def __str__(self) -> str:
        return self.title


class RunPages(ModelAdmin):
    """The page of a run and of its history, and what all our pages need."""

    # --- What all pages need

    def link(self, view: str, *args: str, **query: Any) -> str:
        """The address of a page of this admin site; keys are quoted as Django quotes primary keys."""
        url = reverse(f"admin:task_progress_taskrun_{view}", args=args, current_app=self.admin_site.name)
        return f"{url}?{urlencode(query)}" if query else url

    def run_link(self, seen: Seen, view: str = "change", **query: Any) -> str:
        """The address of a page of this very run: the newest of its key needs no number."""
        if seen.record is None and seen.row.pk is not None:
            query = {"run": seen.row.run, **query}
        return self.link(view, quote(seen.row.task_id), **query)

    def page(self, request: HttpRequest, template: str, context: dict[str, Any], status: int = 200) -> HttpResponse:
        """One of our templates, inside of the admin site."""
        request.current_app = self.admin_site.name  # the templates' links stay in it
        whole = {**self.admin_site.each_context(request), "opts": self.opts, "media": self.media, **context}
        return TemplateResponse(request, f"progress/admin/{template}.html", whole, status=status)

    def note(self, request: HttpRequest, row: TaskRun, flag: int, message: str) -> None:
        """Leave an entry in Django's log of what staff did, under the task's key."""
        LogEntry.objects.create(
            user_id=request.user.pk or 0,
            content_type_id=ContentType.objects.get_for_model(TaskRun).pk,
            object_id=row.task_id,
            object_repr=str(row)[:200],
            action_flag=flag,
            change_message=message,
        )

    def seen_or_404(self, request: HttpRequest, object_id: str, action: str = "watch") -> Seen:
        """The run that an address means, if the user may do this with it: forbidden and unknown are one answer.

        Raises `Http404`, and `StoreUnavailable` where only Redis could know the run.
        """
        number = request.GET.get("run", "")
        seen = find(snapshot.address(unquote(object_id)), int(number) if number.isdecimal() else None)
        if seen is None or not may(request.user, "watch", seen) or not may(request.user, action, seen):
            raise Http404
        return seen

    # --- The page of a run

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """One run. Nothing on it can be changed; it can be cancelled, ended by force and started again."""
        try:
            seen = self.seen_or_404(request, object_id)
        except StoreUnavailable as error:
            messages.error(request, str(error))
            return self.page(request, "unavailable", {"title": gettext("Task run")}, status=503)
        if not seen.reached:
            messages.warning(request, AWAY)
        row = seen.row
        staff = request.user.has_perm(VIEW)
        known = seen.snapshot(staff=staff)
        names = user_names([row.owner, row.cancelled_by])
        context = {
            "title": str(row),
            "seen": seen,
            "known": known,
            "words": state_words(known, None),
            "facts": list(self._facts(request, seen, names)),
            "steps": steps(row.timeline, names.get(row.cancelled_by, row.cancelled_by)),
            "strip": strip(row.timeline, timezone.now()),
            "error": known.get("error") if seen.row.final or known.get("error") else None,
            "result": _as_json(known.get("result")),
            "arguments": self._arguments(request, seen),
            "lines": log_lines(row.task_id) if may(request.user, "logs", seen) else None,
            "others": self._others(row),
            "buttons": self._buttons(request, seen),
            "socket": socket_path(),
            "history_url": self.link("history", quote(row.task_id)),
            **(extra_context or {}),
        }
        return self.page(request, "run", context)

    def _facts(self, request: HttpRequest, seen: Seen, names: dict[str, str]) -> Iterator[Fact]:
        row = seen.row
        lists = request.user.has_perm(VIEW)
        yield Fact(gettext("Task"), row.name, self.link("changelist", task=row.name) if lists else "")
        yield Fact(gettext("Id"), row.task_id, code=True)
        if row.run > 1:
            yield Fact(gettext("Use of this id"), str(row.run))
        owner = names.get(row.owner, row.owner)
        yield Fact(
            gettext("Owner"),
            owner or gettext("nobody"),
            self.link("changelist", owner=row.owner) if owner and lists else "",
        )
        if row.cancelled_by:
            yield Fact(gettext("Cancelled by"), names.get(row.cancelled_by, row.cancelled_by))
        if row.queue:
            yield Fact(gettext("Queue"), row.queue)
        if row.worker:
            yield Fact(gettext("Worker"), row.worker)
        yield Fact(gettext("Attempts"), str(row.attempt))
        if row.started_at and row.finished_at:
            label = gettext("Took") if row.attempt < 2 else gettext("The last took")
            yield Fact(label, span(row.finished_at - row.started_at))
        if row.tree and (row.tree != row.task_id or row.parent):
            yield Fact(
                gettext("Workflow"), row.tree, self.link("changelist", tree=row.tree) if lists else "", code=True
            )
        if row.parent:
            yield Fact(
                gettext("Sent by"), row.parent, self.link("change", quote(snapshot.address(row.parent))), code=True
            )

    def _arguments(self, request: HttpRequest, seen: Seen) -> list[Argument] | None:
        """What it was called with; None for who may not see that."""
        if not may(request.user, "arguments", seen):
            return None
        kept = seen.row.arguments or {}
        return [
            *[Argument(name, _as_json(value) or "") for name, value in kept.get("given", {}).items()],
            *[Argument(name, gettext("hidden"), kept=False) for name in kept.get("hidden", ())],
            *[
                Argument(name, gettext("not kept: it is large, or no JSON"), kept=False)
                for name in kept.get("left_out", ())
            ],
        ]

    def _others(self, row: TaskRun) -> list[tuple[str, TaskRun, str]]:
        others = TaskRun.objects.filter(task_id=row.task_id).exclude(run=row.run).order_by("-run")
        listed = others.only("task_id", "run", "state", "title", "name", "queued_at")[:OTHERS]
        names = {str(state): str(name) for state, name in STATES.items()}
        return [
            (self.link("change", quote(each.task_id), run=each.run), each, names.get(each.state, each.state))
            for each in listed
        ]

    def _buttons(self, request: HttpRequest, seen: Seen) -> list[tuple[str, str]]:
        """What the user may do with the run now: text and address."""
        user, found = request.user, []
        record = seen.record
        if record is not None and not record.ended:
            if not record.control and may(user, "cancel", seen):
                found.append((gettext("Cancel"), self.run_link(seen, "cancel")))
            elif record.control and may(user, "terminate", seen):
                found.append((gettext("End by force"), self.run_link(seen, "terminate")))
        if may(user, "rerun", seen) and may_start(user, seen.row.name) and self.is_runnable(seen.row.name):
            found.append(
                (gettext("Run again"), self.link("start", seen.row.name, again=seen.row.task_id, run=seen.row.run))
            )
        if seen.row.pk is not None and self.has_delete_permission(request, seen.row):
            found.append((gettext("Delete"), self.run_link(seen, "delete")))
        return found

    def is_runnable(self, name: str) -> bool:
        """True if the task says that it may be started by staff."""
        return name in runnable_tasks()

    # --- Django's own pages, led to the key

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> TaskRun | None:
        """The row that a key and ``?run=`` mean, for Django's own pages; what may not be watched is not there."""
        try:
            return self.seen_or_404(request, quote(object_id)).row
        except (Http404, StoreUnavailable):
            return None

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Django's page of what staff did with a run."""
        seen = self.seen_or_404(request, object_id)
        named = Named(seen.row.task_id, str(seen.row))
        return super().history_view(request, object_id, {**(extra_context or {}), "object": named})


def socket_path() -> str:
    """Where the pages find the WebSocket: below the site's script name."""
    return f"{get_script_prefix()}ws/progress/"


def _as_json(value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, str):
        return value
    line = json.dumps(value, ensure_ascii=False)
    return line if len(line) <= LINE else json.dumps(value, ensure_ascii=False, indent=1)
