"""The Django app. Its label is not its module name, because tables and permissions hang on it."""

from __future__ import annotations

from django.apps import AppConfig
from django.utils.translation import gettext_lazy


class ProgressConfig(AppConfig):
    """Connects the reporting hooks to Celery. Starts no thread, opens no connection."""

    name = "progress"
    label = "task_progress"
    verbose_name = gettext_lazy("Task progress")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Register the system checks and listen to Celery."""
        from . import checks, hooks, lifecycle, security_checks  # noqa: F401 (importing registers the checks)

        lifecycle.connect()
        hooks.install()
