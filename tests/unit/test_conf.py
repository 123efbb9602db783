"""Settings: typed, read when used, with defaults that are stated here once more."""

from __future__ import annotations

import ssl
from typing import Any
from urllib.parse import quote

import pytest
from redis.asyncio.connection import SSLConnection, UnixDomainSocketConnection

from progress.conf import NAMES, Settings, conf
from progress.exceptions import ProgressError

SECRET = "p%25@/:?#ü"
ENCODED = quote(SECRET, safe="")
DEFAULTS = {
    "PROGRESS_CHANNEL_LAYER": "default",
    "PROGRESS_AUTHORIZE": None,
    "PROGRESS_EXIT_WHEN_DEAF": False,
    "PROGRESS_HISTORY_BACKLOG": 20_000,
    "PROGRESS_HISTORY_RETENTION": 90 * 24 * 3600,
    "PROGRESS_RECORDER": "server",
    "PROGRESS_IDLE_INTERVAL": 4.0,
    "PROGRESS_IGNORE": [],
    "PROGRESS_INTERVAL": 0.1,
    "PROGRESS_MAX_CONNECTIONS": 20,
    "PROGRESS_MAX_CONNECTIONS_PER_ADDRESS": 100,
    "PROGRESS_MAX_JOINS": 60,
    "PROGRESS_MAX_WATCHES": 500,
    "PROGRESS_ORIGINS": [],
    "PROGRESS_OWNER": None,
    "PROGRESS_PREFIX": "progress",
    "PROGRESS_REDACT": None,
    "PROGRESS_REDIS_URL": "redis://localhost:6379",
    "PROGRESS_RETENTION": 86_400,
    "PROGRESS_STORE": "redis",
    "PROGRESS_SWEEP_INTERVAL": 4.0,
    "PROGRESS_TASKS": {},
    "PROGRESS_TRACK": ["*"],
    "PROGRESS_TRUSTED_PROXIES": [],
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
        ({"host": "a", "port": 1, "username": "me", "password": SECRET}, f"redis://me:{ENCODED}@a:1"),
        ({"host": "a", "password": SECRET, "db": 3}, f"redis://:{ENCODED}@a:6379/3"),
        ({"host": "a", "username": "me"}, "redis://me@a:6379"),
        ({"host": "::1", "port": 1}, "redis://[::1]:1"),
        ({"host": "a", "ssl": True, "ssl_ca_certs": "/ca.pem"}, "rediss://a:6379?ssl_ca_certs=%2Fca.pem"),
        ({"host": "a", "connection_class": SSLConnection}, "rediss://a:6379"),
        (
            {"host": "a", "ssl": True, "ssl_cert_reqs": ssl.CERT_NONE, "ssl_check_hostname": False},
            "rediss://a:6379?ssl_cert_reqs=none&ssl_check_hostname=False",
        ),
        ({"host": "a", "ssl": True, "ssl_validate_ocsp": False, "ssl_keyfile": None}, "rediss://a:6379"),
        (
            {"path": "/run/my redis.sock", "connection_class": UnixDomainSocketConnection, "db": 2, "password": "x"},
            "unix://:x@/run/my%20redis.sock?db=2",
        ),
        ({"address": "redis://a:1/2", "username": "me", "password": SECRET}, f"redis://me:{ENCODED}@a:1/2"),
        ({"address": "redis://you:own@a:1/2", "password": SECRET, "db": 5}, "redis://you:own@a:1/2"),
        ({"address": "redis://you@a:1", "password": SECRET, "db": 5}, f"redis://you:{ENCODED}@a:1?db=5"),
        ({"address": "redis://a:1?db=4", "db": 5}, "redis://a:1?db=4"),
        (
            {"address": "unix:///run/redis.sock", "password": SECRET, "db": 1},
            f"unix://:{ENCODED}@/run/redis.sock?db=1",
        ),
        ({"address": f"redis://me:{ENCODED}@a:1/0", "socket_timeout": None}, f"redis://me:{ENCODED}@a:1/0"),
        ({"address": ("a", 1), "password": SECRET}, f"redis://:{ENCODED}@a:1"),
        (
            {"sentinels": [("a", 1), ("b", 2)], "master_name": "mymaster"},
            "redis+sentinel://a:1,b:2/mymaster",
        ),
        (
            {
                "sentinels": [["a", 1], ("::1", 2)],
                "master_name": "my/master",
                "sentinel_kwargs": {"password": SECRET, "ssl": True, "ssl_ca_certs": "/s.pem"},
                "username": "me",
                "password": SECRET,
                "db": 7,
                "ssl": True,
                "ssl_ca_certs": "/m.pem",
            },
            "".join(
                [
                    f"rediss+sentinel://me:{ENCODED}@a:1,[::1]:2/my%2Fmaster/7?ssl_ca_certs=%2Fm.pem",
                    f"&sentinel_password={ENCODED}&sentinel_ssl_ca_certs=%2Fs.pem&sentinel_ssl=true",
                ]
            ),
        ),
    ],
)
def test_the_records_live_where_the_layer_is(bare: Any, host: Any, url: str) -> None:
    """Without PROGRESS_REDIS_URL the layer's first host is used, however it is written."""
    bare.CHANNEL_LAYERS = {"default": {"CONFIG": {"hosts": [host, "redis://second"]}}}
    assert url == conf.PROGRESS_REDIS_URL
    bare.PROGRESS_REDIS_URL = "redis://explicit"
    assert conf.PROGRESS_REDIS_URL == "redis://explicit"


def test_a_host_that_no_url_can_say_is_refused(bare: Any) -> None:
    """Somebody who signs in by a function has to name the Redis of the records; nothing is guessed."""
    bare.CHANNEL_LAYERS = {"default": {"CONFIG": {"hosts": [{"host": "a", "credential_provider": object()}]}}}
    with pytest.raises(ProgressError, match="has credential_provider, which no URL can say"):
        _ = conf.PROGRESS_REDIS_URL
    bare.PROGRESS_REDIS_URL = "redis://explicit"
    assert conf.PROGRESS_REDIS_URL == "redis://explicit"


@pytest.mark.parametrize("name", ["PROGRESS_TRACK", "PROGRESS_IGNORE", "PROGRESS_ORIGINS"])
def test_a_text_is_no_list(bare: Any, name: str) -> None:
    """A forgotten pair of brackets would make each letter an item."""
    setattr(bare, name, "shop.*")
    with pytest.raises(ProgressError, match=rf"{name} must be a list, got 'shop\.\*'"):
        getattr(conf, name)


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
