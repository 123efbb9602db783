"""The shipped settings, where one connection watches fewer tasks."""

from project.settings import *  # noqa: F403

PROGRESS_MAX_WATCHES = 60
