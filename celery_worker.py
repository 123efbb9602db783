"""Entry of the worker process: ``celery -A celery_worker worker``. The app itself is `project.celery`."""

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")

from project.celery import app

__all__ = ["app"]
