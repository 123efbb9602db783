"""What Django's permissions hang on. The live record of a run is in Redis, not in this table."""

from __future__ import annotations

from typing import ClassVar

from django.db import models


class TaskRun(models.Model):
    """One run of a task. It has no table yet: the history comes with the recorder, under this very name.

    Its permissions are real: ``task_progress.view_taskrun``, ``cancel_taskrun`` and ``start_taskrun``.
    """

    key = models.CharField(primary_key=True, max_length=200)

    class Meta:
        managed = False
        default_permissions = ("view",)
        permissions: ClassVar = [
            ("cancel_taskrun", "Can cancel task runs"),
            ("start_taskrun", "Can start tasks"),
        ]
        verbose_name = "task run"
        verbose_name_plural = "task runs"

    def __str__(self) -> str:
        return self.key
