"""The shipped settings, and a worker that listens to no remote control."""

from tests.pools_settings import *  # noqa: F403

CELERY_WORKER_ENABLE_REMOTE_CONTROL = False
