"""The shipped settings with the records apart and nothing tracked."""

from tests.apart_settings import *  # noqa: F403

PROGRESS_IGNORE = ["*"]
