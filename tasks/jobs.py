"""The jobs that people start here: each with its task, its form and its words. The home page walks this list.

A new job is a task in `tasks`, a form in `forms` and an entry here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from celery import Task
from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.utils.translation import gettext_lazy as _

from . import forms, rollouts, tasks
from .models import Export, Start, Upload

Values = Mapping[str, Any]  # what a valid form holds


def _as_they_are(values: Values, start: Start) -> dict[str, Any]:
    return dict(values)


def _keep_upload(values: Values, start: Start) -> dict[str, Any]:
    file = values["file"]
    upload = Upload.objects.create(owner=start.user, start=start, file=file, name=file.name[:200])
    return {"upload_id": upload.pk}


def _keep_export(values: Values, start: Start) -> dict[str, Any]:
    return {"export_id": Export.objects.create(owner=start.user, start=start, **values).pk}


def _keep_rollout(values: Values, start: Start) -> dict[str, Any]:
    return {"rollout_id": rollouts.prepare(start, values["hosts"], values["packages"]).pk}


@dataclass(frozen=True, slots=True)
class Job:
    """Something that can be started from the home page."""

    name: str  # in addresses
    title: Any  # these three are translated when they are shown
    about: Any  # what it does: the first paragraph of the task's docstring
    button: Any
    task: Task
    form: type[forms.StartForm]
    # What the task is called with, in plain JSON. It may write rows for the task to read: see `start_once`.
    arguments: Callable[[Values, Start], dict[str, Any]] = _as_they_are
    outcome: str = ""  # which row of its `Start` its run's page shows, by a template of that name
    sample: str = ""  # a static file to try it with
    staff_only: bool = False

    def may_be_started_by(self, user: AbstractBaseUser | AnonymousUser) -> bool:
        """True if `user` sees it; for the others it is not there."""
        return bool(getattr(user, "is_staff", False)) if self.staff_only else user.is_authenticated


JOBS: Final = (
    Job(
        "countdown",
        _("Try it"),
        _("Count down, and say so at every step. Start it as it is, or change how long it takes."),
        _("Start a job"),
        tasks.countdown,
        forms.CountdownForm,
    ),
    Job(
        "import",
        _("Import customers"),
        _("Read the customers in a CSV file, row by row. Good rows are stored, bad ones listed with their reasons."),
        _("Import the file"),
        tasks.import_csv,
        forms.ImportForm,
        _keep_upload,
        outcome="upload",
        sample="tasks/customers.csv",
    ),
    Job(
        "export",
        _("Export orders"),
        _("Write your orders into a file that only you can download. It is there when it is whole, or not at all."),
        _("Export the orders"),
        tasks.export_orders,
        forms.ExportForm,
        _keep_export,
        outcome="export",
    ),
    Job(
        "install",
        _("Install software"),
        _(
            "Install packages on several hosts, each host a task of its own. "
            "The hosts are simulated: nothing is installed."
        ),
        _("Install on all hosts"),
        tasks.install_software,
        forms.InstallForm,
        _keep_rollout,
        outcome="rollout",
    ),
    Job(
        "feed",
        _("Sync a feed"),
        _(
            "Copy a feed, many entries at a time, in one event loop. "
            "The feed is simulated: nothing leaves this machine."
        ),
        _("Sync the feed"),
        tasks.sync_feed,
        forms.FeedForm,
    ),
    # Logs tell of everybody's requests.
    Job(
        "tail",
        _("Follow a log"),
        _("Follow a log file: its lines appear in the log of this job, until you cancel it or the time is over."),
        _("Follow the file"),
        tasks.tail_log,
        forms.TailForm,
        staff_only=True,
    ),
)


def job_named(name: str) -> Job | None:
    """The job with this name in its address."""
    return next((job for job in JOBS if job.name == name), None)


def job_of(start: Start) -> Job | None:
    """The job that was started there."""
    return next((job for job in JOBS if job.task.name == start.task), None)
