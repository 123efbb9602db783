"""The shipped settings, but broker and results are in another Redis than progress, which may then break alone."""

import os

from project.settings import *  # noqa: F403
from project.settings import CHANNEL_LAYERS

PROGRESS_REDIS_URL = os.environ["RECORDS_URL"]
CHANNEL_LAYERS["default"]["CONFIG"]["hosts"][0]["address"] = PROGRESS_REDIS_URL
