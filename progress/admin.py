"""The Django admin of task runs: staff watch them, start them, stop them and find them again.

The list is Django's own, over the history; its rows, and the page of a run, are live over one socket. `docs/admin.md`
says who may do what. Register `TaskRunAdmin` on any other admin site; its links stay there.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, ClassVar

from django.contrib import admin, messages
from django.contrib.admin import ShowFacets
from django.contrib.admin.models import DELETION
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, QueryDict
from django.template.loader import render_to_string
from django.urls import URLPattern, path
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext, gettext_lazy

from .admin_filters import COUNTED, FILTERS, PARAMETERS, BoundedPaginator, asked_of, search
from .admin_pages import Named, socket_path
from .admin_runs import Seen, user_names, with_records
from .admin_start import StartPages
from .admin_timeline import clock
from .models import TaskRun
from .permissions import CANCEL, RERUN, VIEW
from .words import state_words


class LiveList(ChangeList):
    """Django's list of rows; each of those that are shown comes with its live record and the name of its owner."""

    def get_queryset(self, request: HttpRequest, *args: Any, **kwargs: Any) -> QuerySet[TaskRun]:
        """What filters and search ask for, so that an index answers; without the columns that no list shows."""
        super().get_queryset(request, *args, **kwargs)  # lets them say what they ask for
        asked = asked_of(request)
        found = asked.answer(self.model_admin.get_queryset(request))
        if asked.said and request.method == "GET":
            messages.warning(request, asked.said)
        request.__dict__.pop("task_progress_asked")  # the same request may be answered again, after an action
        return found.order_by("-queued_at", "-id").defer("public", "arguments", "states")

    def get_results(self, request: HttpRequest) -> None:
        """One query for the rows, one for the owners, one question to Redis."""
        super().get_results(request)
        rows = list(self.result_list)
        names = user_names([row.owner for row in rows])
        for seen in with_records(rows):
            seen.owner = names.get(seen.row.owner, seen.row.owner)
            seen.row.seen = seen  # type: ignore[attr-defined]  # for the columns
        self.result_list = rows
        whole = self.page_num == 1 and not self.has_active_filters and not self.query
        # From when on a run is newer than what this page shows.
        self.since = (rows[0].queued_at if whole and rows else timezone.now()).isoformat()

    def url_for_result(self, result: Any) -> str:
        """The page of the run."""
        pages: Any = self.model_admin
        return str(pages.run_link(_seen(result)))


@admin.register(TaskRun)
class TaskRunAdmin(StartPages):
    """Runs of tasks: a live list, a live page for each, *Run a task*, cancelling and starting again."""

    actions = ("cancel_selected", "terminate_selected", "rerun_selected")
    change_list_template = "progress/admin/change_list.html"
    list_display = ("run_column", "name_column", "owner_column", "queued_column", "duration_column")
    list_display_links = None  # the first column has a link of its own, also where there is no JavaScript
    list_filter = FILTERS
    list_max_show_all = 200
    list_per_page = 50  # rows, each of which is watched
    ordering = ("-queued_at", "-id")
    paginator = BoundedPaginator
    search_fields = ("task_id",)  # shows the field; `get_search_results` decides
    search_help_text = gettext_lazy(
        "The id of a task, the beginning of a task's name, or a user's name; the first that fits."
    )
    show_facets = ShowFacets.NEVER  # each would be a count
    show_full_result_count = False  # so would this
    sortable_by = ()

    class Media:
        css: ClassVar = {"all": ["progress/admin.css"]}

    # --- Who may

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Runs are started, not added."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody edits what happened."""
        return False

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Who sees the list. Whether a run's page is shown is decided for each run."""
        return request.user.has_perm(VIEW)

    def has_cancel_permission(self, request: HttpRequest) -> bool:
        """Who is offered to cancel many; what becomes of each run is decided for each."""
        return request.user.has_perm(CANCEL)

    def has_rerun_permission(self, request: HttpRequest) -> bool:
        """Who is offered to start many again; what becomes of each run is decided for each."""
        return request.user.has_perm(RERUN) and self.has_start_permission(request)

    def get_model_perms(self, request: HttpRequest) -> dict[str, bool]:
        """Who may only start tasks finds the way here, too."""
        found = super().get_model_perms(request)
        return {**found, "view": found["view"] or self.has_start_permission(request)}

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest | None = None) -> bool:
        """Our filters only: any other could read the whole table, or guess at hidden arguments letter by letter."""
        return lookup in PARAMETERS

    # --- The list

    def get_urls(self) -> list[URLPattern]:
        """Django's pages by the task's key, and ours."""
        wrap, name = self.admin_site.admin_view, "task_progress_taskrun_"
        return [
            path("", wrap(self.changelist_view), name=name + "changelist"),
            path("tasks/", wrap(self.tasks_view), name=name + "tasks"),
            path("tasks/<path:name>/run/", wrap(self.start_view), name=name + "start"),
            path("<str:object_id>/change/", wrap(self.change_view), name=name + "change"),
            path("<str:object_id>/history/", wrap(self.history_view), name=name + "history"),
            path("<str:object_id>/delete/", wrap(self.delete_view), name=name + "delete"),
            path("<str:object_id>/cancel/", wrap(self.cancel_view), name=name + "cancel"),
            path("<str:object_id>/terminate/", wrap(self.terminate_view), name=name + "terminate"),
        ]

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        """Ours, with live rows."""
        return LiveList

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[TaskRun], search_term: str
    ) -> tuple[QuerySet[TaskRun], bool]:
        """What one index can answer; see `admin_filters.search`."""
        return search(request, queryset, search_term), False

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """The list; who may only start tasks is led to them."""
        if not self.has_view_permission(request):
            if self.has_start_permission(request):
                return HttpResponseRedirect(self.link("tasks"))
            raise PermissionDenied
        if request.POST.get("select_across") == "1":
            request.POST = _without_across(request.POST)  # type: ignore[assignment]
        context = {
            "tasks_url": self.link("tasks") if self.has_start_permission(request) else "",
            "title": str(self.opts.verbose_name_plural).capitalize(),
            "counted": COUNTED,
            "socket": socket_path(),
            "list_url": self.link("changelist"),
            **(extra_context or {}),
        }
        return super().changelist_view(request, context)

    @admin.display(description=gettext_lazy("run"))
    def run_column(self, row: TaskRun) -> SafeString:
        """The live element, or where Redis has forgotten the run, what was recorded last."""
        seen = _seen(row)
        known = seen.snapshot(staff=True)
        context = {"seen": seen, "known": known, "url": self.run_link(seen), "words": state_words(known, None)}
        return render_to_string("progress/admin/run_cell.html", context)

    @admin.display(description=gettext_lazy("task"))
    def name_column(self, row: TaskRun) -> SafeString:
        """The name of its task."""
        return format_html_join("", "{}{}<wbr>", re.findall(r"([^._]*)([._]?)", row.name))

    @admin.display(description=gettext_lazy("owner"), empty_value="–")
    def owner_column(self, row: TaskRun) -> str:
        """Whose it is; the link shows that person's runs."""
        if not row.owner:
            return ""
        return format_html('<a href="{}">{}</a>', self.link("changelist", owner=row.owner), _seen(row).owner)

    @admin.display(description=gettext_lazy("queued"))
    def queued_column(self, row: TaskRun) -> SafeString:
        """When it was queued."""
        at = timezone.localtime(row.queued_at) if timezone.is_aware(row.queued_at) else row.queued_at
        text = '<time class="run-queued" datetime="{}"><span>{}</span> <span>{}</span></time>'
        return format_html(text, at.isoformat(), f"{at:%Y-%m-%d}", f"{at:%H:%M:%S}")

    @admin.display(description=gettext_lazy("duration"))
    def duration_column(self, row: TaskRun) -> SafeString:
        """How long it ran; while it runs, so far. The page keeps it up to date."""
        end = row.finished_at or (timezone.now() if row.state in ("STARTED", "PROGRESS") else None)
        words = clock(end - row.started_at) if row.started_at and end else "–"
        return format_html('<span class="run-duration">{}</span>', words)

    # --- Deleting

    def get_deleted_objects(
        self, objs: QuerySet[TaskRun] | Sequence[TaskRun], request: HttpRequest
    ) -> tuple[list[Any], dict[str, int], set[str], list[Any]]:
        """What Django's pages say is deleted: the runs, which nothing else hangs on."""
        rows = list(objs)
        needed = set() if self.has_delete_permission(request) else {str(self.opts.verbose_name)}
        return [str(row) for row in rows], {str(self.opts.verbose_name_plural): len(rows)}, needed, []

    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Django's page that asks first. A run that is not written down yet cannot be deleted."""
        seen = self.seen_or_404(request, object_id)
        if seen.row.pk is None:
            message = gettext("This run is not in the history yet. Try again in a moment.")
            self.message_user(request, message, "WARNING")
            return HttpResponseRedirect(self.run_link(seen))
        named = Named(seen.row.task_id, str(seen.row))
        answer: HttpResponse = super().delete_view(request, object_id, {**(extra_context or {}), "object": named})
        return answer

    def response_delete(self, request: HttpRequest, obj_display: str, obj_id: int) -> HttpResponse:
        """Back to the list, which Django keeps for those who may change rows."""
        super().response_delete(request, obj_display, obj_id)
        return HttpResponseRedirect(self.link("changelist"))

    def log_deletions(self, request: HttpRequest, queryset: Any) -> list[Any]:
        """Under the key, as all our entries are."""
        for row in queryset:
            self.note(request, row, DELETION, f"Deleted the run of {row.queued_at:%Y-%m-%d %H:%M}")
        return []


def _seen(row: TaskRun) -> Seen:
    seen: Seen = row.seen  # type: ignore[attr-defined]
    return seen


def _without_across(data: QueryDict) -> QueryDict:
    """What was ticked, not all pages: an act on runs that nobody has looked at is refused."""
    found = data.copy()
    found["select_across"] = "0"
    return found
