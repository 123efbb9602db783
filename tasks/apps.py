"""Registers the app."""

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class TasksConfig(AppConfig):
    """The example jobs and their pages."""

    name = "tasks"
    verbose_name = _("Jobs")
