"""What came of a run: rows that were imported, a file that was written, the parts that it sent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, BinaryIO, Final

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import ObjectDoesNotExist
from django.http import Http404, HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.http import content_disposition_header
from django.utils.translation import gettext
from django.views.decorators.http import require_GET, require_POST, require_safe

import progress

from . import rollouts
from .jobs import job_of
from .models import Export, Rollout, Start, Upload
from .runs import Run, User, run_of, runs_of

# Forbidden and unknown must not differ, not by a word.
NOTHING_HERE: Final = "There is no such page, or it is not yours."
BYTES_AT_ONCE: Final = 256 * 1024


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run's page shows below its bar: a template, and what that is given."""

    template: str
    values: dict[str, Any] = field(default_factory=dict)


def outcome_of(user: User, run: Run) -> Outcome | None:
    """What there is to show of this run to `user`, who may watch it. Raises `progress.ProgressError`."""
    start = Start.objects.filter(task_id=run.key).first()
    job = job_of(start) if start else None
    if job is None or not job.outcome:
        part = rollouts.part_of_task(run.key)
        whole = part.rollout.start if part else None
        return Outcome("outcomes/part.html", {"whole": reverse("run", args=[whole.task_id])}) if whole else None
    try:
        row = getattr(start, job.outcome)
    except ObjectDoesNotExist:  # deleted since
        return None
    return _OUTCOMES[job.outcome](user, run, row)


def _of_upload(user: User, run: Run, upload: Upload) -> Outcome | None:
    return Outcome("outcomes/upload.html", {"upload": upload}) if _may_see(user, upload) else None


def _of_export(user: User, run: Run, export: Export) -> Outcome | None:
    return Outcome("outcomes/export.html", {"export": export}) if export.owner_id == user.pk else None


def _of_rollout(user: User, run: Run, rollout: Rollout) -> Outcome:
    parts = list(rollout.installations.all())
    runs = {each.key: each for each in runs_of(user, [str(part.task_id) for part in parts])}
    listed = [{"host": part.host, "run": runs.get(str(part.task_id))} for part in parts]
    values = {
        "rollout": rollout,
        "parts": listed,
        "ended": sum(each.snapshot["final"] for each in runs.values()),
        "failed": sum(each.snapshot["state"] == progress.State.FAILURE for each in runs.values()),
    }
    unfinished = not run.snapshot["final"] or values["ended"] < len(runs)
    values["may_stop"] = unfinished and rollout.stopped_at is None and "cancel" in run.may
    return Outcome("outcomes/rollout.html", values)


_OUTCOMES: Final[dict[str, Callable[[User, Run, Any], Outcome | None]]] = {
    "upload": _of_upload,
    "export": _of_export,
    "rollout": _of_rollout,
}


@require_GET
@login_required
def import_page(request: HttpRequest, pk: int) -> HttpResponse:
    """What an import stored, left out or was refused for."""
    upload = Upload.objects.select_related("start").filter(pk=pk).first()
    if upload is None or not _may_see(request.user, upload):
        raise Http404(NOTHING_HERE)
    context = {
        "upload": upload,
        "bad_rows": upload.bad_rows.all(),
        "left_out": upload.bad_rows_left_out,
        "run_url": reverse("run", args=[upload.task_id]) if upload.task_id else None,
    }
    return render(request, "import.html", context)


def _may_see(user: User, upload: Upload) -> bool:
    return upload.owner_id == user.pk or (user.is_staff and user.has_perm("tasks.view_upload"))


@require_GET
@login_required
def exports(request: HttpRequest) -> HttpResponse:
    """My exports, newest first, those that have no file yet or never got one included."""
    mine = Export.objects.current().filter(owner=request.user).select_related("start")
    return render(request, "exports.html", {"exports": mine})


@require_safe
@login_required
def export_file(request: HttpRequest, pk: int) -> StreamingHttpResponse:
    """The file of one of my exports. 404 for those of others, for unknown ones, and where there is no file (yet)."""
    export = Export.objects.current().filter(pk=pk, owner=request.user).exclude(file="").first()
    try:
        if export is None:
            raise Http404(NOTHING_HERE)
        file = export.file.storage.open(export.file.name, "rb")
    except FileNotFoundError:  # deleted this very moment
        raise Http404(NOTHING_HERE) from None
    return _FileAnswer(request, file, export)


class _FileAnswer(StreamingHttpResponse):
    """A file to be saved, in pieces. (Django's own `FileResponse` reads all of it into memory under ASGI.)"""

    def __init__(self, request: HttpRequest, file: BinaryIO, export: Export) -> None:
        self._file = file
        pieces = _in_pieces(file) if hasattr(request, "scope") else iter(partial(file.read, BYTES_AT_ONCE), b"")
        kind = "application/gzip" if export.compressed else "text/csv; charset=utf-8"
        super().__init__(pieces, content_type=kind)
        self["Content-Length"] = export.size
        self["Content-Disposition"] = content_disposition_header(True, export.name)
        self["Cache-Control"] = "private, no-store"

    def close(self) -> None:
        """Also when the browser has gone before the end."""
        super().close()
        self._file.close()


async def _in_pieces(file: BinaryIO) -> AsyncIterator[bytes]:
    while piece := await asyncio.to_thread(file.read, BYTES_AT_ONCE):
        yield piece


@require_POST
@login_required
def stop_rollout(request: HttpRequest, pk: int) -> HttpResponse:
    """Call off what a rollout has not done. For whoever may cancel its run; 404 for the others."""
    rollout = Rollout.objects.select_related("start").filter(pk=pk).first()
    task_id = rollout.start.task_id if rollout and rollout.start else None
    try:
        run = run_of(request.user, task_id) if task_id else None
    except progress.ProgressError:
        return render(request, "unavailable.html", status=503)
    if rollout is None or run is None or "cancel" not in run.may:
        raise Http404(NOTHING_HERE)
    rollouts.stop(rollout)
    messages.info(request, gettext("Called off. What runs stops within a second, what waits does not begin."))
    return redirect(run.url)
