"""As `bench.settings`, with Django's own middleware alone: what a peer's view costs without what is ours."""

from bench.settings import *  # noqa: F403
from bench.settings import MIDDLEWARE

MIDDLEWARE = [name for name in MIDDLEWARE if name.startswith("django.") and "locale" not in name]
