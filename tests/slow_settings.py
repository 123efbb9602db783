"""The shipped settings, and pages that take their time."""

from project.settings import *  # noqa: F403

ROOT_URLCONF = "tests.slow_urls"
