"""The shipped settings, but the channel layer goes another way to Redis than the store: through a bad network."""

import os

from project.settings import *  # noqa: F403
from project.settings import CHANNEL_LAYERS, REDIS_URL

PROGRESS_REDIS_URL = REDIS_URL
CHANNEL_LAYERS["default"]["CONFIG"]["hosts"][0]["address"] = os.environ["LAYER_URL"]
