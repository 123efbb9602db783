"""The pages: start a job, watch it. No work is done here; that is the worker's. `outcomes` shows what came of it."""

from __future__ import annotations

from functools import partial
from typing import Any

from django.contrib.auth.decorators import login_required
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_GET, require_POST

import progress

from .forms import StartForm
from .jobs import JOBS, Job, job_named
from .outcomes import NOTHING_HERE, outcome_of
from .runs import latest_runs, run_of
from .starting import NotSent, start_once

BROKER_AWAY = _(
    "The job could not be queued, because the message broker does not answer. "
    "Nothing was started. Try again in a moment."
)


@require_GET
@login_required
def home(request: HttpRequest) -> HttpResponse:
    """My runs, newest first, and the jobs that I may start."""
    return _home(request)


@require_GET
@login_required
def run(request: HttpRequest, key: str) -> HttpResponse:
    """One run, live. 404 for those who may not watch it, and for those that do not exist."""
    try:
        found = run_of(request.user, key)
        if found is None:
            raise Http404(NOTHING_HERE)
        outcome = outcome_of(request.user, found)
    except progress.ProgressError:
        return render(request, "unavailable.html", status=503)
    return render(request, "run.html", {"run": found, "outcome": outcome})


# Kept out of a site-wide transaction: what it writes must be committed before the task is sent.
@transaction.non_atomic_requests
@require_POST
@login_required
def start(request: HttpRequest, name: str) -> HttpResponse:
    """Start a job, once per form. 404 for a job that this user may not start, as for one that there is not."""
    job = job_named(name)
    if job is None or not job.may_be_started_by(request.user):
        raise Http404(NOTHING_HERE)
    form = job.form(request.POST, request.FILES)
    if not form.is_valid():
        return _home(request, job, form, status=422)
    values = {name: value for name, value in form.cleaned_data.items() if name != "once"}
    try:
        task_id = start_once(request.user, form.cleaned_data["once"], job.task, partial(job.arguments, values))
    except NotSent:
        form.add_error(None, BROKER_AWAY)
        return _home(request, job, form, status=503)
    return redirect("run", key=progress.key(task_id))


def _home(
    request: HttpRequest, sent: Job | None = None, form: StartForm | None = None, *, status: int = 200
) -> HttpResponse:
    """The home page; of the job that was `sent` with the form as it came, opened."""
    mine = [job for job in JOBS if job.may_be_started_by(request.user)]
    cards: list[dict[str, Any]] = [
        {"job": job, "form": form if job is sent else job.form(), "open": job is (sent or mine[0])} for job in mine
    ]
    try:
        runs, away = latest_runs(request.user), False
    except progress.ProgressError:
        runs, away = [], True
    here = request.build_absolute_uri(reverse("home"))
    context = {"cards": cards, "runs": runs, "store_away": away, "here": here}
    return render(request, "home.html", context, status=status)
