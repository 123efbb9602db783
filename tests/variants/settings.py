"""The shipped settings with the channel layer that the variable LAYER names; every log says who wrote each line."""

import os

from project.settings import *  # noqa: F403
from project.settings import CHANNEL_LAYERS, PROGRESS_PREFIX, REDIS_URL

HOSTS = {
    "core": {"address": REDIS_URL, "socket_timeout": None},
    "plain core": REDIS_URL,  # as in many a tutorial: a trap with redis-py 8, which a check has to see
}
if os.environ["LAYER"] in HOSTS:
    CHANNEL_LAYERS["default"] = {
        "BACKEND": "channels_redis.core.RedisChannelLayer",
        "CONFIG": {"hosts": [HOSTS[os.environ["LAYER"]]], "prefix": PROGRESS_PREFIX},
    }

CELERY_WORKER_LOG_FORMAT = "%(levelname)s %(name)s %(message)s"
CELERY_WORKER_TASK_LOG_FORMAT = CELERY_WORKER_LOG_FORMAT
