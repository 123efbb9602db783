"""`RunTaskMixin`: start tasks for one row, or for many, from the admin pages of any model."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Final

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.models import LogEntry
from django.contrib.admin.options import IS_POPUP_VAR
from django.contrib.admin.utils import quote, unquote
from django.db.models import Model, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.loader import select_template
from django.template.response import TemplateResponse
from django.urls import URLPattern, get_script_prefix, path, reverse
from django.utils.translation import gettext

from . import snapshot
from .exceptions import StoreUnavailable
from .forms import NoForm, TaskForm
from .model_fields import Place
from .models import TaskRun
from .run_task_runs import Shown, note, parts_of, shown_to, started_for, titles_of, total_of
from .runnable import may_start
from .starting import AS_USUAL, MayNotStart, NotSent, start
from .task_calls import Call, Offer, Tasks, for_one_of_many, form_for_the_rest, of_how_many, offers, taker_of

if TYPE_CHECKING:
    ModelAdmin = admin.ModelAdmin[Any]
else:
    ModelAdmin = object  # what it is mixed into

MANY: Final = 200  # rows that one action takes
ACTION: Final = "run_task:"  # then the task's name


class RunTaskMixin(ModelAdmin):
    """Buttons and actions that start tasks for the rows of a model. See `docs/run-task-mixin.md`.

    Offered is what the user may start; started is only for rows that the user may see. Who did it is in the log of
    the row and of the run.
    """

    run_tasks: ClassVar[Tasks] = ()

    def run_task_arguments(self, task: Any, obj: Any) -> dict[str, Any]:
        """What `task` is started with for `obj`. Override it where an annotation does not say it; JSON only."""
        taker = taker_of(task, self.model)
        return {taker.name: taker.value([obj.pk])}

    # --- Where they are offered

    def get_urls(self) -> list[URLPattern]:
        """Django's pages of the model, and ours."""
        wrap, name = self.admin_site.admin_view, f"{self.opts.app_label}_{self.opts.model_name}_"
        ours = [
            path("runs/<str:tree>/", wrap(self.runs_view), name=name + "runs"),
            path("<str:object_id>/run/<path:name>/", wrap(self.run_task_view), name=name + "run_task"),
            path("<str:object_id>/runs/", wrap(self.object_runs_view), name=name + "object_runs"),
        ]
        return [*ours, *super().get_urls()]

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        """The model's actions, and one for each task that the user may start."""
        found: dict[str, Any] = super().get_actions(request)
        if self.actions is None or IS_POPUP_VAR in request.GET:
            return found
        for offer in self._offers(request):
            name, act = ACTION + offer.name, partial(_run_selected, offer=offer)
            found[name] = (act, name, offer.for_selected)
        return found

    def render_change_form(
        self,
        request: HttpRequest,
        context: Any,
        add: bool = False,
        change: bool = False,
        form_url: str = "",
        obj: Any = None,
    ) -> HttpResponse:
        """The page of a row, whatever template it has, with our buttons above it."""
        answer: HttpResponse = super().render_change_form(request, context, add, change, form_url, obj)
        buttons = self._buttons(request, obj)
        if buttons and isinstance(answer, TemplateResponse) and answer.context_data is not None:
            names = answer.template_name
            base = select_template([names] if isinstance(names, str) else names)  # type: ignore[arg-type]
            answer.context_data |= {"run_task_base": base, "run_task_buttons": buttons}
            answer.template_name = "progress/run_task/change_form.html"
        return answer

    def _buttons(self, request: HttpRequest, obj: Any) -> list[tuple[str, str]]:
        if obj is None or not self.has_view_permission(request, obj):
            return []
        place = quote(obj.pk)
        found = [(offer.label, self._link("run_task", place, offer.name)) for offer in self._offers(request)]
        return [*found, (gettext("Runs"), self._link("object_runs", place))] if found else []

    def _offers(self, request: HttpRequest) -> list[Offer]:
        return [offer for offer in offers(self.run_tasks) if may_start(request.user, offer.name)]

    # --- For one row

    def run_task_view(self, request: HttpRequest, object_id: str, name: str) -> HttpResponse:
        """Ask first, with a form for what the task needs besides the row; then start it."""
        obj = self._visible_or_404(request, object_id)
        offer = next((each for each in self._offers(request) if each.name == name), None)
        if offer is None:
            raise Http404
        calls = [Call([obj], self.run_task_arguments(offer.task, obj))]
        back = self._link("change", quote(obj.pk))
        answer, form = self._question(request, offer, calls, back, posted=request.method == "POST", original=obj)
        if answer is not None:
            return answer
        if not self._start(request, offer, calls, form) or not offer.tracked:
            return HttpResponseRedirect(back)
        return HttpResponseRedirect(self._link("object_runs", quote(obj.pk)))

    def object_runs_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """What was started for one row: the newest as a live bar, those before it below."""
        obj = self._visible_or_404(request, object_id)
        runs = self._with_links(shown_to(request.user, started_for(obj)))
        context = {
            "title": gettext("Runs for %(row)s") % {"row": obj},
            "label": gettext("Runs"),
            "original": obj,
            "newest": runs[0] if runs else None,
            "runs": runs[1:],
            "back": self._link("change", quote(obj.pk)),
            "back_words": gettext("Back to %(row)s") % {"row": obj},
        }
        return self._page(request, "runs", context)

    def _visible_or_404(self, request: HttpRequest, object_id: str) -> Any:
        """The row, if the user may see it: forbidden and unknown are one answer."""
        obj = self.get_object(request, unquote(object_id))
        if obj is None or not self.has_view_permission(request, obj):
            raise Http404
        return obj

    # --- For many

    def run_selected(self, request: HttpRequest, queryset: QuerySet[Any], offer: Offer) -> HttpResponse | None:
        """Ask first, then start the task for each of the rows, or once for all where it takes a list of them."""
        chosen = [obj for obj in queryset[: MANY + 1] if self.has_view_permission(request, obj)]
        if len(chosen) > MANY:
            messages.error(request, gettext("Choose %(count)s at the most. Nothing was started.") % {"count": MANY})
            return None
        if not chosen:
            messages.warning(request, gettext("There is nothing to start it for."))
            return None
        calls = self._calls(offer, chosen)
        posted = bool(request.POST.get("post"))
        answer, form = self._question(
            request, offer, calls, request.get_full_path(), posted=posted, action=ACTION + offer.name
        )
        if answer is not None:
            return answer
        tree = str(uuid.uuid4())
        keys = self._start(request, offer, calls, form, tree)
        if not keys or not offer.tracked:
            return None
        return HttpResponseRedirect(self._link("runs", tree))

    def runs_view(self, request: HttpRequest, tree: str) -> HttpResponse:
        """What was started together: one live bar for all, and each below it."""
        if not self.has_view_permission(request):
            raise Http404
        try:
            runs = self._with_links(shown_to(request.user, parts_of(snapshot.address(tree))))
        except StoreUnavailable:
            messages.error(request, gettext("Redis does not answer. Try again."))
            return self._page(request, "runs", {"title": gettext("Runs"), **self._back_to_list()}, status=503)
        if not runs:
            raise Http404
        names = gettext(", ").join(sorted({run.seen.row.name for run in runs}))
        title = gettext("%(count)s runs of %(names)s") % {"count": len(runs), "names": names}
        context: dict[str, Any] = {"title": title, "runs": runs, "total": total_of(runs)}
        context["socket"] = f"{get_script_prefix()}ws/progress/"
        if len(runs) == 1:
            context = {"title": str(runs[0].seen.row), "newest": runs[0]}
        return self._page(request, "runs", {**context, **self._back_to_list()})

    def _calls(self, offer: Offer, chosen: Sequence[Model]) -> list[Call]:
        if type(self).run_task_arguments is RunTaskMixin.run_task_arguments:
            taker = taker_of(offer.task, self.model)
            if taker.many:
                return [Call(chosen, {taker.name: taker.value([obj.pk for obj in chosen])})]
        return [Call([obj], self.run_task_arguments(offer.task, obj)) for obj in chosen]

    def _back_to_list(self) -> dict[str, str]:
        return {
            "back": self._link("changelist"),
            "back_words": gettext("Back to %(row)s") % {"row": self.opts.verbose_name_plural},
        }

    # --- Asking

    def _question(
        self,
        request: HttpRequest,
        offer: Offer,
        calls: Sequence[Call],
        back: str,
        *,
        posted: bool,
        action: str = "",
        original: Any = None,
    ) -> tuple[HttpResponse | None, TaskForm | None]:
        """The page that asks, or None where it was answered well; and the form, if there is one."""
        data, files = (request.POST, request.FILES) if posted else (None, None)
        try:
            form = form_for_the_rest(offer, calls, Place(self.admin_site, request), data, files)
        except NoForm as error:
            messages.error(request, str(error))
            return HttpResponseRedirect(back), None
        if posted and (form is None or form.is_valid()):
            return None, form
        objects = [obj for call in calls for obj in call.rows]
        what = objects[0] if len(objects) == 1 else f"{len(objects)} {self.opts.verbose_name_plural}"
        context = {
            "title": gettext("%(verb)s: %(run)s") % {"verb": offer.label, "run": what},
            "label": offer.label,
            "about": offer.about,
            "explanation": offer.how_often(calls),
            "objects": objects,
            "original": original,
            "form": form,
            "media": self.media + form.media if form else self.media,
            "action": action,
            "checkbox": ACTION_CHECKBOX_NAME,
            "back": back,
        }
        return self._page(request, "ask", context, status=422 if form and form.errors else 200), form

    # --- Starting

    def _start(
        self, request: HttpRequest, offer: Offer, calls: Sequence[Call], form: TaskForm | None, tree: str = ""
    ) -> list[str]:
        """Send the task for each of `calls`, as one workflow where they are several; the keys of what was sent.

        Stops at the first that the broker does not take; a message says what became of all of them.
        """
        further = form.cleaned_data if form else {}
        sending = form.sending if form else AS_USUAL
        sent: list[tuple[Sequence[Model], str]] = []
        failed = ""
        for rows, arguments in calls:
            options = {"group_id": tree} if tree else {}
            try:
                started = start(
                    offer.task, {**for_one_of_many(further), **arguments}, request.user, sending, **options
                )
            except (MayNotStart, NotSent) as error:
                failed = str(error)
                break
            sent.append((rows, started.key))
        titles = titles_of(key for _, key in sent) if offer.tracked else {}
        entries = [
            note(request.user, obj, offer.name, key, titles.get(key, "")) for rows, key in sent for obj in rows
        ]
        LogEntry.objects.bulk_create([entry for pair in entries for entry in pair])
        self._tell(request, offer, len(sent), len(calls), failed)
        return [key for _, key in sent]

    def _tell(self, request: HttpRequest, offer: Offer, sent: int, wanted: int, failed: str) -> None:
        if failed:
            messages.error(request, f"{of_how_many(sent, wanted)} {failed}")
        elif not offer.tracked:
            said = gettext("%(task)s: started. The task is not tracked, so there is nothing to watch.")
            messages.info(request, said % {"task": offer.label})

    # --- What all our pages need

    def _with_links(self, runs: Iterable[Shown]) -> list[Shown]:
        """The runs, each with the address of its page where this admin site has one."""
        if not self.admin_site.is_registered(TaskRun):
            return list(runs)
        name, site = "admin:task_progress_taskrun_change", self.admin_site.name
        return [replace(run, url=reverse(name, args=[quote(run.seen.row.task_id)], current_app=site)) for run in runs]

    def _link(self, view: str, *args: str) -> str:
        name = f"admin:{self.opts.app_label}_{self.opts.model_name}_{view}"
        return reverse(name, args=args, current_app=self.admin_site.name)

    def _page(self, request: HttpRequest, template: str, context: dict[str, Any], status: int = 200) -> HttpResponse:
        request.current_app = self.admin_site.name  # the templates' links stay in it
        whole = {**self.admin_site.each_context(request), "opts": self.opts, "media": self.media, **context}
        return TemplateResponse(request, f"progress/run_task/{template}.html", whole, status=status)


def _run_selected(
    pages: RunTaskMixin, request: HttpRequest, queryset: QuerySet[Any], *, offer: Offer
) -> HttpResponse | None:
    """The form in which Django calls an action."""
    return pages.run_selected(request, queryset, offer)
