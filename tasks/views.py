"""The pages: start a job, watch it, read what became of it. No work is done here; that is the worker's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib.auth.decorators import login_required
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_POST

import progress
from progress.permissions import viewer_of
from progress.snapshot import address
from progress.store import get_store

from .forms import CountdownForm, ImportForm, StartForm
from .models import Start, Upload
from .starting import NotSent, start_once
from .tasks import countdown, import_csv

# Forbidden and unknown must not differ, not by a word.
NOTHING_HERE = "There is no such page, or it is not yours."
BROKER_AWAY = (
    "The job could not be queued, because the message broker does not answer. "
    "Nothing was started. Try again in a moment."
)


@require_GET
@login_required
def home(request: HttpRequest) -> HttpResponse:
    """My runs, newest first, and the two start forms."""
    return _home(request)


@require_GET
@login_required
def run(request: HttpRequest, key: str) -> HttpResponse:
    """One run, live. 404 for those who may not watch it, and for those that do not exist."""
    key = address(key)
    try:
        record = get_store().load(key)
    except progress.ProgressError:
        return _store_away(request)
    viewer = viewer_of(request.user)
    if record is None or not viewer.may("watch", record):
        raise Http404(NOTHING_HERE)
    upload = Upload.objects.filter(start__task_id=key).first()
    context = {
        "key": key,
        "snapshot": record.snapshot(staff=viewer.staff),
        "may": [action for action in ("watch", "cancel") if viewer.may(action, record)],
        "outcome_url": upload.get_absolute_url() if upload and _may_see(request, upload) else None,
    }
    return render(request, "run.html", context)


# Both are kept out of a site-wide transaction: what they write must be committed before the task is sent.
@transaction.non_atomic_requests
@require_POST
@login_required
def start_countdown(request: HttpRequest) -> HttpResponse:
    """Start a countdown, once per form."""
    form = CountdownForm(request.POST)

    def arguments(start: Start) -> dict[str, Any]:
        return {name: form.cleaned_data[name] for name in ("seconds", "steps")}

    return _start(request, form, countdown, arguments, countdown_form=form)


@transaction.non_atomic_requests
@require_POST
@login_required
def start_import(request: HttpRequest) -> HttpResponse:
    """Keep the uploaded file and start its import, once per form."""
    form = ImportForm(request.POST, request.FILES)

    def arguments(start: Start) -> dict[str, Any]:
        file = form.cleaned_data["file"]
        upload = Upload.objects.create(owner=start.user, start=start, file=file, name=file.name[:200])
        return {"upload_id": upload.pk}

    return _start(request, form, import_csv, arguments, import_form=form)


@require_GET
@login_required
def import_page(request: HttpRequest, pk: int) -> HttpResponse:
    """What an import stored, left out or was refused for."""
    upload = Upload.objects.select_related("start").filter(pk=pk).first()
    if upload is None or not _may_see(request, upload):
        raise Http404(NOTHING_HERE)
    context = {
        "upload": upload,
        "bad_rows": upload.bad_rows.all(),
        "left_out": upload.bad_rows_left_out,
        "run_url": reverse("run", args=[upload.task_id]) if upload.task_id else None,
    }
    return render(request, "import.html", context)


def _start(
    request: HttpRequest,
    form: StartForm,
    task: Any,
    arguments: Callable[[Start], dict[str, Any]],
    **forms: StartForm,
) -> HttpResponse:
    if not form.is_valid():
        return _home(request, status=422, **forms)
    try:
        task_id = start_once(request.user, form.cleaned_data["once"], task, arguments)
    except NotSent:
        form.add_error(None, BROKER_AWAY)
        return _home(request, status=503, **forms)
    return redirect("run", key=progress.key(task_id))


def _home(request: HttpRequest, *, status: int = 200, **forms: StartForm) -> HttpResponse:
    runs, away = _my_runs(request)
    context = {
        "runs": runs,
        "store_away": away,
        "countdown_form": CountdownForm(),
        "import_form": ImportForm(),
        "here": request.build_absolute_uri(reverse("home")),
        **forms,
    }
    return render(request, "home.html", context, status=status)


def _my_runs(request: HttpRequest) -> tuple[list[dict[str, Any]], bool]:
    store = get_store()
    viewer = viewer_of(request.user)
    try:
        keys = store.mine(str(request.user.pk))
        records = store.load_many(keys)
    except progress.ProgressError:
        return [], True
    runs = [
        {
            "key": key,
            "url": reverse("run", args=[key]),
            "snapshot": record.snapshot(staff=viewer.staff),
        }
        for key, record in zip(keys, records, strict=True)
        if record is not None and viewer.may("watch", record)
    ]
    return runs, False


def _may_see(request: HttpRequest, upload: Upload) -> bool:
    user = request.user
    return upload.owner_id == user.pk or (user.is_staff and user.has_perm("tasks.view_upload"))


def _store_away(request: HttpRequest) -> HttpResponse:
    return render(request, "unavailable.html", status=503)
