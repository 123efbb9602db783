"""What is remembered of the settings is never older than they are."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from django.test import override_settings

from progress.from_settings import NAMES, from_settings
from progress.store import get_store

# In a process of its own: the settings of the tests are overridden, and nothing is remembered then.
PLAIN = """
import django
from django.conf import settings
django.setup()
settings.PROGRESS_STORE = "redis"
from progress import listeners
from progress.store import get_store

asked = []
from progress.conf import Settings
url = Settings.PROGRESS_REDIS_URL.fget
Settings.PROGRESS_REDIS_URL = property(lambda self: asked.append(1) or url(self))

first = get_store()
assert get_store() is first and len(asked) == 1, asked
layer = settings.CHANNEL_LAYERS["default"]
layer["BACKEND"] = listeners.PUB_SUB
layer["CONFIG"] = {"hosts": ["redis://first:1/0"], "prefix": "a"}
moved = get_store()
assert moved.url == "redis://first:1/0", moved.url
assert listeners.channel_of("t", moved.url).startswith("a__group__")
layer["CONFIG"]["hosts"][0] = "redis://second:1/0"  # in its place
assert get_store().url == "redis://second:1/0"
assert listeners.channel_of("t", moved.url) == ""
settings.PROGRESS_PREFIX = "own"  # as monkeypatch does
assert get_store().prefix == "own"
settings.PROGRESS_REDIS_URL = "redis://third:1/0"
assert get_store().url == "redis://third:1/0"
del settings.PROGRESS_REDIS_URL
assert get_store().url == "redis://second:1/0"
from django.test import override_settings
with override_settings(PROGRESS_REDIS_URL="redis://fourth:1/0"):
    assert get_store().url == "redis://fourth:1/0"
    settings.PROGRESS_REDIS_URL = "redis://fifth:1/0"
    assert get_store().url == "redis://fifth:1/0"
assert get_store().url == "redis://second:1/0"
"""


def test_whoever_changes_settings_and_how_is_noticed_at_once() -> None:
    """A host changed in its place, an assignment, a deletion, an override. What is as it was is not asked again."""
    found = subprocess.run([sys.executable, "-c", PLAIN], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr


@pytest.mark.parametrize("name", NAMES)
def test_overridden_settings_are_read_each_time(name: str, settings: Any) -> None:
    """Tests nest overrides, and take away what an outer one has set."""
    seen = from_settings(lambda: getattr(settings, name, "none"))
    with override_settings(**{name: "outer"}):
        assert seen() == "outer"
        with override_settings(**{name: "inner"}):
            assert seen() == "inner"
        assert seen() == "outer"


def test_a_store_is_shared_and_another_prefix_has_another(settings: Any) -> None:
    """As long as the settings name the same place."""
    settings.PROGRESS_STORE = "memory"
    first = get_store()
    assert get_store() is first
    settings.PROGRESS_PREFIX = "other"
    assert get_store() is not first
