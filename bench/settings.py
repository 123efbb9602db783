"""The shipped settings, for who measures: one user is the whole crowd, and celery-progress is installed."""

from urllib.parse import urlsplit

from project.settings import *  # noqa: F403
from project.settings import INSTALLED_APPS, REDIS_URL

# Not its "websockets": as an app it sends a message at the end of every task of a worker, ours included.
INSTALLED_APPS = [*INSTALLED_APPS, "celery_progress"]
ROOT_URLCONF = "bench.urls"
PROGRESS_MAX_CONNECTIONS = PROGRESS_MAX_JOINS = PROGRESS_MAX_CONNECTIONS_PER_ADDRESS = 0
# For django-eventstream.
EVENTSTREAM_REDIS = {"host": urlsplit(REDIS_URL).hostname, "port": urlsplit(REDIS_URL).port}
