"""The shipped site's settings as the tests use them: nothing outside this process, nothing that stays.

Tests that need the real Redis ask for the fixture `redis_url`, those that need the whole site for `site`.
"""

import atexit
import os
import shutil
import tempfile

# Read by the settings below. What is set outside is of another run and must not leak into this one.
os.environ["DATA_DIR"] = tempfile.mkdtemp(prefix="progress-tests-")
os.environ["SECRET_KEY"] = "for-tests-only-" + "0" * 40
for name in ("REDIS_URL", "DATABASE_URL", "PROGRESS_PREFIX", "CELERY_QUEUE", "ALLOWED_HOSTS", "DEBUG", "HTTPS"):
    os.environ.pop(name, None)
atexit.register(shutil.rmtree, os.environ["DATA_DIR"], ignore_errors=True)

from project.settings import *  # noqa: E402, F403
from project.settings import ALLOWED_HOSTS  # noqa: E402

PROGRESS_STORE = "memory"
PROGRESS_PREFIX = "unit"
CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
CELERY_BROKER_URL = "memory://"
CELERY_RESULT_BACKEND = "cache+memory://"
ALLOWED_HOSTS = [*ALLOWED_HOSTS, "testserver"]
# Two hundred logins cost a minute otherwise.
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
# How many connections a user may open is what tests/unit/test_limits.py is about, not the others.
PROGRESS_MAX_CONNECTIONS = PROGRESS_MAX_JOINS = 0
