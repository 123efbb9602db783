"""Registers the app."""

from django.apps import AppConfig


class TasksConfig(AppConfig):
    """The example jobs and their pages."""

    name = "tasks"
    verbose_name = "Jobs"
