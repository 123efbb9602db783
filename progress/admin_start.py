"""*Run a task*: staff choose a task, fill in its form and land on the run's page. Starting again is the same form."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Final

from django.contrib import admin, messages
from django.contrib.admin.models import ADDITION, CHANGE
from django.contrib.admin.utils import quote, unquote
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.translation import gettext, gettext_lazy, ngettext

from . import snapshot
from .admin_control import Became, ControlPages
from .admin_runs import Seen, find, may
from .again import NotAgain, arguments_again
from .docstrings import summary
from .exceptions import StoreUnavailable
from .forms import NoForm, form_for
from .model_fields import Place
from .models import TaskRun
from .owners import owner_id
from .permissions import START
from .runnable import NoSuchTask, may_start, runnable_task, runnable_tasks
from .starting import AS_USUAL, MayNotStart, NotSent, Sending, Started, start
from .store import get_store

RECENT: Final = 20  # of one's own runs, on the page of tasks


class StartPages(ControlPages):
    """The tasks that may be started, their forms, and starting again."""

    def tasks_view(self, request: HttpRequest) -> HttpResponse:
        """The tasks that the user may start, and the user's own recent runs."""
        if not self.has_start_permission(request):
            raise PermissionDenied
        names = [name for name in runnable_tasks() if may_start(request.user, name)]
        tasks = [(name, self.link("start", name), summary(runnable_task(name).run.__doc__)) for name in names]
        context = {"title": gettext("Run a task"), "tasks": tasks, "recent": self._recent(request)}
        return self.page(request, "tasks", context)

    def start_view(self, request: HttpRequest, name: str) -> HttpResponse:
        """The form of one task; a good one starts it. With ``?again=`` it is filled in as that run was called."""
        if not may_start(request.user, name):
            raise PermissionDenied
        try:
            task = runnable_task(name)
            before = self._before(request, name)
            form_class = form_for(
                task, given=self._given(request, before), sending=True, place=Place(self.admin_site, request)
            )
        except NoSuchTask:
            raise Http404 from None
        except NoForm as error:
            messages.error(request, str(error))
            return HttpResponseRedirect(self.link("tasks"))
        form = form_class(request.POST, request.FILES) if request.method == "POST" else form_class()
        if form.is_valid():
            started = self._start(request, task, form.cleaned_data, form.sending, before)
            if started and started.tracked:
                return HttpResponseRedirect(self.link("change", quote(started.key)))
            if started:
                said = gettext("The task %(task)s was started. It is not tracked, so there is nothing to watch.")
                messages.info(request, said % {"task": name})
                return HttpResponseRedirect(self.link("tasks"))
        context = {
            "title": self.about(gettext("Run again"), [before])
            if before
            else gettext("Run %(task)s") % {"task": name},
            "name": name,
            "form": form,
            "help": form.help,
            "before": before,
            "arguments_shown": before is not None and may(request.user, "arguments", before),
            "media": self.media + form.media,
        }
        return self.page(request, "start", context, status=422 if form.errors else 200)

    @admin.action(description=gettext_lazy("Run selected again"), permissions=["rerun"])
    def rerun_selected(self, request: HttpRequest, queryset: QuerySet[TaskRun]) -> HttpResponse | None:
        """Start many again as they were called; those whose arguments are not all kept are left out, and named."""
        chosen = self.chosen(queryset)
        calls = [(seen, *self._as_called(request, seen)) for seen in chosen]
        if not request.POST.get("post"):
            context = {
                "title": self.about(gettext("Run again"), chosen),
                "explanation": gettext("Each is started once more with the same arguments. It will be yours."),
                "runs": [
                    (seen.row, self.run_link(seen), why or gettext("will be started again"), not why)
                    for seen, _, why in calls
                ],
                "possible": any(not why for _, _, why in calls),
                "button": gettext("Run again"),
                "back": request.get_full_path(),
            }
            return self.page(request, "confirm", {**context, **self.again("rerun_selected", chosen)})
        done = []
        for seen, arguments, why in calls:
            became: Became = why
            if not why:
                sent = self._start(request, runnable_task(seen.row.name), arguments, AS_USUAL, seen)
                became = _started if sent else _unsent
            done.append((became, seen.row))
        self.tell(request, done, all(words is _started for words, _ in done))
        return None

    def has_start_permission(self, request: HttpRequest) -> bool:
        """Who may start some task."""
        return request.user.has_perm(START) or any(may_start(request.user, name) for name in runnable_tasks())

    # --- Starting again

    def _before(self, request: HttpRequest, name: str) -> Seen | None:
        """The run that is to be started again; None if there is none to be, 404 if it is not the user's to start."""
        key = request.GET.get("again")
        if not key:
            return None
        number = request.GET.get("run", "")
        seen = find(snapshot.address(unquote(key)), int(number) if number.isdecimal() else None)
        if seen is None or seen.row.name != name or not may(request.user, "rerun", seen):
            raise Http404
        return seen

    def _given(self, request: HttpRequest, before: Seen | None) -> dict[str, Any] | None:
        """What the form is filled in with: nothing for who may not see what the run was called with."""
        return before.row.arguments if before is not None and may(request.user, "arguments", before) else None

    def _as_called(self, request: HttpRequest, seen: Seen) -> tuple[dict[str, Any], str]:
        """What starts the run again as it was called, and why it cannot be started so; "" if it can."""
        name = seen.row.name
        if not may(request.user, "rerun", seen) or not may_start(request.user, name):
            return {}, gettext("may not be started by you")
        if not self.is_runnable(name):
            return {}, gettext("cannot be started from here: its task does not say so")
        try:
            return arguments_again(runnable_task(name), seen.row.arguments), ""
        except NotAgain as error:
            return {}, gettext("must be started by its form: %(why)s") % {"why": error.why}

    def _start(
        self, request: HttpRequest, task: Any, arguments: dict[str, Any], sending: Sending, before: Seen | None
    ) -> Started | None:
        """Send the task and leave the entries of who did it; None, and a message, if it could not be sent."""
        try:
            sent = start(task, arguments, request.user, sending)
        except (MayNotStart, NotSent) as error:
            messages.error(request, str(error))
            return None
        key = sent.key
        row = TaskRun(task_id=key, name=task.name)
        with suppress(StoreUnavailable):
            if (started := find(key)) is not None:
                row = started.row
        said = f"Started {task.name}" if before is None else f"Started {task.name} again, after {before.row.task_id}"
        self.note(request, row, ADDITION, said)
        if before is not None:
            self.note(request, before.row, CHANGE, f"Started again as {key}")
        return sent

    def _recent(self, request: HttpRequest) -> list[tuple[str, str, dict[str, Any]]]:
        """The user's newest runs: address, key, snapshot."""
        try:
            keys = get_store().mine(owner_id(request.user), RECENT)
            records = get_store().load_many(keys)
        except StoreUnavailable:
            messages.warning(request, gettext("Redis does not answer: your recent runs cannot be shown for now."))
            return []
        found = [(key, record) for key, record in zip(keys, records, strict=True) if record is not None]
        return [(self.link("change", quote(key)), key, record.snapshot()) for key, record in found]


def _started(count: int) -> str:
    return ngettext("was started again", "were started again", count)


def _unsent(count: int) -> str:
    return ngettext("could not be sent", "could not be sent", count)
