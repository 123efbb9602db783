"""Staff start tasks here and watch them. The history of runs is not kept yet, so the list shows one's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse

from . import snapshot
from .exceptions import ProgressError, StoreUnavailable
from .forms import NoForm, NoSuchTask, form_for, runnable_task, runnable_tasks
from .models import TaskRun
from .options import options_of
from .owners import owner_id
from .permissions import START, viewer_of
from .store import get_store

if TYPE_CHECKING:
    ModelAdmin = admin.ModelAdmin[TaskRun]
else:
    ModelAdmin = admin.ModelAdmin  # Django's own takes no type arguments at run time


@admin.register(TaskRun)
class TaskRunAdmin(ModelAdmin):
    """*Run a task*: a form from the task's signature, then its live page."""

    def get_urls(self) -> list[URLPattern]:
        """Our pages in place of those that edit rows."""
        wrap = self.admin_site.admin_view
        return [
            path("", wrap(self.changelist_view), name="task_progress_taskrun_changelist"),
            path("start/<str:name>/", wrap(self.start_view), name="task_progress_taskrun_start"),
            path("<str:key>/live/", wrap(self.live_view), name="task_progress_taskrun_live"),
        ]

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Runs are started, not added."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody edits what happened."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody removes what happened."""
        return False

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Who may start tasks or see runs finds this page."""
        return super().has_view_permission(request, obj) or request.user.has_perm(START)

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        """The tasks that may be started, and one's own recent runs."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        tasks = runnable_tasks() if request.user.has_perm(START) else {}
        context = {
            "title": "Run a task",
            "tasks": [{"name": name, "help": _first_line(task)} for name, task in tasks.items()],
            "keys": self._recent(request),
        }
        return self._page(request, "task_list", context)

    def start_view(self, request: HttpRequest, name: str) -> HttpResponse:
        """The form of one task; a good one starts it."""
        if not request.user.has_perm(START):
            raise PermissionDenied
        try:
            task = runnable_task(name)
            form = form_for(task)(request.POST or None)
        except NoSuchTask:
            raise Http404 from None
        except NoForm as error:
            messages.error(request, str(error))
            return redirect(f"{self.admin_site.name}:task_progress_taskrun_changelist")
        started = form.is_valid() and self._started(request, task, form.cleaned_data)
        if started:
            return redirect(reverse(f"{self.admin_site.name}:task_progress_taskrun_live", args=[started]))
        context = {"title": f"Run {name}", "form": form, "help": _first_line(task), "name": name}
        return self._page(request, "start", context, status=200 if not form.errors else 422)

    def live_view(self, request: HttpRequest, key: str) -> HttpResponse:
        """One run, live."""
        try:
            record = get_store().load(snapshot.address(key))
        except StoreUnavailable:
            record = None
            messages.warning(request, "Redis does not answer: nothing can be shown for now.")
        else:
            if not viewer_of(request.user).may("watch", record):
                raise Http404
        return self._page(request, "live", {"title": "Task run", "key": snapshot.address(key), "record": record})

    def _started(self, request: HttpRequest, task: Any, arguments: dict[str, Any]) -> str | None:
        try:
            sent = task.apply_async(kwargs=arguments)
        except Exception as error:  # noqa: BLE001 (a broker may raise anything; the person reads it)
            messages.error(request, f"The task could not be sent: {error}. Check the broker and try again.")
            return None
        key = snapshot.key(sent.id)
        self.log_addition(request, TaskRun(task_id=key, name=task.name), f"Started {task.name}")
        if not options_of(task.name, task.run).track:
            messages.info(request, f"{task.name} was started. It is not tracked, so there is nothing to watch.")
        return key

    def _recent(self, request: HttpRequest) -> list[str]:
        try:
            return get_store().mine(owner_id(request.user), 20)
        except ProgressError:
            messages.warning(request, "Redis does not answer: recent runs cannot be shown for now.")
            return []

    def _page(self, request: HttpRequest, template: str, context: dict[str, Any], status: int = 200) -> HttpResponse:
        request.current_app = self.admin_site.name  # the templates' links stay in it
        page = {**self.admin_site.each_context(request), "opts": self.opts, **context}
        return TemplateResponse(request, f"progress/admin/{template}.html", page, status=status)


def _first_line(task: Any) -> str:
    return (task.run.__doc__ or "").strip().partition("\n")[0]
