"""The shipped site: settings, URLs and entry points. It only wires `progress` and `tasks` together."""

from project.celery import app as celery_app

__all__ = ["celery_app"]
