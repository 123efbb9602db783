"""The shipped settings; the worker's log says who wrote each line."""

from project.settings import *  # noqa: F403

CELERY_WORKER_LOG_FORMAT = "%(levelname)s %(name)s %(message)s"
CELERY_WORKER_TASK_LOG_FORMAT = CELERY_WORKER_LOG_FORMAT
