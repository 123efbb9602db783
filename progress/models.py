"""The history: one row per run of a task, for staff. The live record of a run is in Redis, not in this table."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any, ClassVar, Final, NamedTuple

from django.db import models
from django.utils.translation import gettext_lazy

from .snapshot import FINAL, State

CANCELLING: Final = "CANCELLING"  # in a row's `states`: somebody asked to cancel


class Step(NamedTuple):
    """A state that a run came into."""

    at: dt.datetime
    state: str  # of `State`, or "CANCELLING"
    attempt: int


class TaskRun(models.Model):
    """One run of a task, written by the recorder from what Redis says, never by whoever enqueues or runs tasks.

    A task id is usually used once. One that is used again ("nightly-report") has a row per run.
    """

    task_id = models.CharField(max_length=200, help_text="The id, or its progress.key() if that is no safe name.")
    run = models.PositiveIntegerField(default=1, help_text="Which use of this id it is.")
    seq = models.BigIntegerField(default=0, help_text="Of the newest change that is written here.")
    name = models.CharField(max_length=200)
    title = models.CharField(max_length=300, blank=True)
    owner = models.CharField(max_length=255, blank=True, help_text="Primary key of a user, as text.")
    state = models.CharField(max_length=10, choices=[(state.value, state.value) for state in State])
    attempt = models.PositiveIntegerField(default=0)
    cancelled_by = models.CharField("asked to cancel", max_length=255, blank=True)
    queue = models.CharField(max_length=200, blank=True)
    worker = models.CharField(max_length=255, blank=True)
    tree = models.CharField("workflow", max_length=200, blank=True)
    parent = models.CharField(max_length=200, blank=True)
    arguments = models.JSONField(
        null=True, blank=True, help_text="See `progress.arguments.Arguments`; null: not known."
    )
    states = models.JSONField(
        default=list, blank=True, help_text="How it went: [seq, µs since 1970, state, attempt]."
    )
    public = models.TextField(blank=True, help_text="The last snapshot as JSON, as everybody who may watch sees it.")
    staff = models.TextField(blank=True, help_text="The last snapshot as JSON, as permitted staff see it.")
    queued_at = models.DateTimeField()
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        default_permissions = ("view", "delete")
        permissions: ClassVar = [
            ("cancel_taskrun", "Can cancel task runs"),
            ("start_taskrun", "Can start tasks"),
            ("rerun_taskrun", "Can start task runs again"),
            ("see_arguments_taskrun", "Can see the arguments of task runs"),
        ]
        verbose_name = gettext_lazy("task run")
        verbose_name_plural = gettext_lazy("task runs")
        ordering = ("-queued_at", "-id")
        get_latest_by = "queued_at"
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["task_id", "run"], name="task_progress_one_row_per_run")
        ]
        # Each is what a list is filtered by, then its order: no page reads more rows than it shows.
        indexes: ClassVar = [
            models.Index(fields=["-queued_at", "-id"], name="task_progress_newest"),
            models.Index(fields=["state", "-queued_at", "-id"], name="task_progress_by_state"),
            models.Index(fields=["name", "-queued_at", "-id"], name="task_progress_by_name"),
            models.Index(fields=["owner", "-queued_at", "-id"], name="task_progress_by_owner"),
            models.Index(fields=["tree", "-queued_at", "-id"], name="task_progress_by_tree"),
        ]

    def __str__(self) -> str:
        return self.title or self.name or self.task_id

    @property
    def final(self) -> bool:
        """True if it has ended. LOST and RETRY are no ends."""
        return self.state in FINAL

    @property
    def timeline(self) -> list[Step]:
        """The states that it came into, in order, each once."""
        steps: list[Step] = []
        seen: tuple[str, int] | None = None  # a wish to cancel is told with the state that it found
        for _, at, state, attempt in self.states:
            if (state, attempt) != seen:
                steps.append(Step(dt.datetime.fromtimestamp(at / 1_000_000, dt.UTC), state, attempt))
            seen = seen if state == CANCELLING else (state, attempt)
        return steps

    def snapshot(self, *, staff: bool = False) -> dict[str, Any]:
        """The last snapshot that was recorded, in the public or the staff view; {} if there is none."""
        text = self.staff if staff else self.public
        found: dict[str, Any] = json.loads(text) if text else {}
        return found
