"""The shipped site with a broker of its own, so that what happens to the records happens to no message."""

import os

from project.settings import *  # noqa: F403
from project.settings import CHANNEL_LAYERS

CELERY_BROKER_URL = os.environ["BROKER_URL"]
CELERY_RESULT_BACKEND = None
# A message whose worker was killed, or that takes longer, is delivered again.
CELERY_BROKER_TRANSPORT_OPTIONS = {"visibility_timeout": 6}
CHANNEL_LAYERS["default"]["CONFIG"]["hosts"][0]["address"] = os.environ["LAYER_URL"]
PROGRESS_REDIS_URL = os.environ["REDIS_URL"]
PROGRESS_IGNORE = ["untracked.*"]
ROOT_URLCONF = "tests.faults.urls"
# Clients of a few users, many at a time, whose connections are cut again and again.
PROGRESS_MAX_CONNECTIONS = PROGRESS_MAX_JOINS = 0
