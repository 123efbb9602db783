"""The shipped settings on a core layer where a message lives for two seconds instead of a minute."""

from project.settings import *  # noqa: F403
from project.settings import CHANNEL_LAYERS, PROGRESS_PREFIX, REDIS_URL

CHANNEL_LAYERS["default"] = {
    "BACKEND": "channels_redis.core.RedisChannelLayer",
    "CONFIG": {
        "hosts": [{"address": REDIS_URL, "socket_timeout": None}],
        "prefix": PROGRESS_PREFIX,
        "expiry": 2,  # seconds that a message lives
    },
}
