"""The shipped settings of a site without a worker: whoever sends a task runs it, in the middle of a request."""

from project.settings import *  # noqa: F403

CELERY_TASK_ALWAYS_EAGER = True
ROOT_URLCONF = "tests.eager_urls"
PROGRESS_RECORDER = ""  # no table is made for these tests
