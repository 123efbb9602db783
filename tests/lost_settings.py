"""The shipped settings with a broker and a result backend of their own, which may be impatient."""

from project.settings import *  # noqa: F403
from project.settings import REDIS_URL, env

CELERY_BROKER_URL = env.str("BROKER_URL", default=REDIS_URL)
CELERY_RESULT_BACKEND = env.str("BACKEND_URL", default=REDIS_URL)
CELERY_BROKER_TRANSPORT_OPTIONS = {
    "visibility_timeout": env.int("VISIBILITY_TIMEOUT", default=3600),  # seconds
    "unacked_restore_interval": 1,  # seconds; what is overdue is looked for at once, not each 100 s
    "unacked_restore_throttle": 1,
}
CELERY_WORKER_SOFT_SHUTDOWN_TIMEOUT = env.float("SOFT_SHUTDOWN_TIMEOUT", default=0.0)  # seconds
