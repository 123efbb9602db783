"""The shipped settings with nothing tracked: what Celery does without us."""

from project.settings import *  # noqa: F403

PROGRESS_IGNORE = ["*"]
