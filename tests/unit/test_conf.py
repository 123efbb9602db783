"""Settings: typed, read when used, with defaults that are stated here once more."""

from __future__ import annotations

from typing import Any

import pytest

from progress.conf import NAMES, Settings, conf
from progress.exceptions import ProgressError

DEFAULTS = {
    "PROGRESS_CHANNEL_LAYER": "default",
    "PROGRESS_IDLE_INTERVAL": 4.0,
    "PROGRESS_IGNORE": [],
    "PROGRESS_INTERVAL": 0.1,
    "PROGRESS_MAX_WATCHES": 500,
    "PROGRESS_ORIGINS": [],
    "PROGRESS_OWNER": None,
    "PROGRESS_PREFIX": "progress",
    "PROGRESS_REDIS_URL": "redis://localhost:6379",
    "PROGRESS_RETENTION": 86_400,
    "PROGRESS_STORE": "redis",
    "PROGRESS_SWEEP_INTERVAL": 4.0,
    "PROGRESS_TASKS": {},
    "PROGRESS_TRACK": ["*"],
}


@pytest.fixture
def bare(settings: Any) -> Any:
    """A site that configured nothing of ours."""
    for name in NAMES:
        if hasattr(settings, name):
            delattr(settings, name)
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer"}}
    settings.CSRF_TRUSTED_ORIGINS = []
    return settings


def test_every_setting_has_its_default(bare: Any) -> None:
    """Nothing has to be set."""
    assert {name: getattr(conf, name) for name in NAMES} == DEFAULTS


@pytest.mark.parametrize("name", NAMES)
def test_every_setting_says_what_it_is(name: str) -> None:
    """Each has a docstring, and a type."""
    prop = vars(Settings)[name]
    assert prop.__doc__
    assert prop.fget.__annotations__["return"]


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("PROGRESS_INTERVAL", 0, 0.0),
        ("PROGRESS_RETENTION", "60", 60),
        ("PROGRESS_IGNORE", ("a", "b"), ["a", "b"]),
        ("PROGRESS_TRACK", [], []),
        ("PROGRESS_STORE", "memory", "memory"),
        ("PROGRESS_MAX_WATCHES", 1, 1),
        ("PROGRESS_OWNER", "progress.owners.owner_id", "found"),
    ],
)
def test_a_setting_is_read_when_it_is_used(settings: Any, name: str, value: Any, expected: Any) -> None:
    """`override_settings` works at any time; 0, False and empty are respected."""
    setattr(settings, name, value)
    found = getattr(conf, name)
    assert found == expected if expected != "found" else callable(found)


def test_the_layer_named_progress_is_preferred(bare: Any) -> None:
    """A site that gives us a layer of our own need not say so twice."""
    bare.CHANNEL_LAYERS = {"default": {}, "progress": {}}
    assert conf.PROGRESS_CHANNEL_LAYER == "progress"
    bare.PROGRESS_CHANNEL_LAYER = "default"
    assert conf.PROGRESS_CHANNEL_LAYER == "default"


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("redis://a:1/2", "redis://a:1/2"),
        ("rediss://a", "rediss://a"),
        (("a", 1), "redis://a:1"),
        (["a", 1], "redis://a:1"),
        ({"address": "redis://a:1/2", "socket_keepalive": False}, "redis://a:1/2"),
        ({"address": ("a", 1)}, "redis://a:1"),
        ({"host": "a", "port": 1}, "redis://a:1"),
        ({"host": "a"}, "redis://a:6379"),
        ("unix:///run/redis.sock", "unix:///run/redis.sock"),
    ],
)
def test_the_records_live_where_the_layer_is(bare: Any, host: Any, url: str) -> None:
    """Without PROGRESS_REDIS_URL the layer's first host is used, however it is written."""
    bare.CHANNEL_LAYERS = {"default": {"CONFIG": {"hosts": [host, "redis://second"]}}}
    assert url == conf.PROGRESS_REDIS_URL
    bare.PROGRESS_REDIS_URL = "redis://explicit"
    assert conf.PROGRESS_REDIS_URL == "redis://explicit"


def test_origins_default_to_those_that_csrf_trusts(bare: Any) -> None:
    """One list is enough for most sites; an own list, even an empty one, takes its place."""
    bare.CSRF_TRUSTED_ORIGINS = ["https://a.example"]
    assert conf.PROGRESS_ORIGINS == ["https://a.example"]
    bare.PROGRESS_ORIGINS = []
    assert conf.PROGRESS_ORIGINS == []


def test_an_owner_that_is_no_function_is_refused(settings: Any) -> None:
    """The error names the setting and what it must be."""
    settings.PROGRESS_OWNER = "progress.conf.NAMES"
    with pytest.raises(ProgressError, match="PROGRESS_OWNER must be a function or its dotted path, got"):
        _ = conf.PROGRESS_OWNER
