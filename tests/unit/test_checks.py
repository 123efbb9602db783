"""What is wrong with a site is said at start-up, each with an id and what to do about it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import current_app, shared_task
from django.conf import UserSettingsHolder
from django.core.checks import CheckMessage, run_checks

import progress
from progress import checks
from progress.options import ATTRIBUTE

SOURCE = "".join(path.read_text() for path in Path(checks.__file__).parent.glob("*checks*.py"))
IDS = re.findall(r'id="(task_progress\.[EW]\d{3})"', SOURCE)
PUBSUB = {"BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer"}


def _core_layer(host: Any) -> dict[str, Any]:
    return {
        "CHANNEL_LAYERS": {
            "default": {"BACKEND": "channels_redis.core.RedisChannelLayer", "CONFIG": {"hosts": [host]}}
        }
    }


def found() -> list[CheckMessage]:
    return run_checks(tags=["progress"])


def ids() -> list[str]:
    return [message.id for message in found()]


def test_the_shipped_site_and_the_tests_pass() -> None:
    """The defaults have nothing to complain about."""
    assert found() == []


def test_ids_are_unique() -> None:
    """No two checks share an id, or even a number."""
    assert len({each[-3:] for each in IDS}) == len(IDS)


def test_every_id_has_a_test() -> None:
    """Each id is expected somewhere in this file."""
    here = Path(__file__).read_text()
    assert [each for each in IDS if f'"{each}"' not in here] == []


# id: what a site did wrong
WRONG: dict[str, dict[str, Any]] = {
    "task_progress.E001": {"CHANNEL_LAYERS": {"other": PUBSUB}},
    "task_progress.W002": {
        "CHANNEL_LAYERS": {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}},
        "PROGRESS_STORE": "redis",
    },
    "task_progress.W003": {"CHANNEL_LAYERS": {"default": {"BACKEND": "channels_redis.core.RedisChannelLayer"}}},
    "task_progress.E004": {"PROGRESS_INTERVALL": 1},
    "task_progress.E005": {"PROGRESS_RETENTION": "for ever"},
    "task_progress.E006": {"PROGRESS_STORE": "postgres"},
    "task_progress.E007": {"PROGRESS_SWEEP_INTERVAL": 0},
    "task_progress.E008": {"PROGRESS_PREFIX": "my site/é"},
    "task_progress.E009": {"PROGRESS_ORIGINS": ["*"]},
    "task_progress.E010": {"ALLOWED_HOSTS": ["*"], "DEBUG": False},
    "task_progress.E011": {"PROGRESS_TASKS": {"shop.*": {"tilte": "Orders"}}},
    "task_progress.E012": {"MIDDLEWARE": [checks.OWNER_MIDDLEWARE, checks.AUTH_MIDDLEWARE]},
    "task_progress.W013": {"MIDDLEWARE": [checks.AUTH_MIDDLEWARE]},
    "task_progress.E014": {"INSTALLED_APPS": ["django.contrib.staticfiles", "daphne"]},
    "task_progress.W017": {"CHANNEL_LAYERS": {"default": {"BACKEND": "some.Layer"}}, "PROGRESS_STORE": "redis"},
    "task_progress.E018": {"PROGRESS_REDIS_URL": "memcached://a"},
    "task_progress.E020": {"PROGRESS_MAX_CONNECTIONS": -1},
    "task_progress.E022": {"PROGRESS_RECORDER": "worker"},
    "task_progress.E023": {"PROGRESS_HISTORY_RETENTION": -1},
}


@pytest.mark.parametrize("expected", WRONG)
def test_a_misconfiguration_is_found_and_says_what_to_do(monkeypatch: Any, settings: Any, expected: str) -> None:
    """That check and no other complains, and its hint is an instruction."""
    for name, value in WRONG[expected].items():
        if name == "INSTALLED_APPS":  # changing it for real would load the apps again
            pretended = UserSettingsHolder(checks.settings)
            pretended.INSTALLED_APPS = value
            monkeypatch.setattr(checks, "settings", pretended)
        else:
            setattr(settings, name, value)
    messages = found()
    assert [message.id for message in messages] == [expected]
    assert messages[0].hint
    assert messages[0].level == (40 if expected.split(".")[1].startswith("E") else 30)


@pytest.mark.parametrize(
    ("expected", "wrong"),
    [
        ("task_progress.E001", {"PROGRESS_CHANNEL_LAYER": "mine"}),
        ("task_progress.W003", _core_layer({"address": "redis://a", "socket_timeout": 5})),
        ("task_progress.W003", _core_layer(("a", 6379))),
        ("task_progress.E005", {"PROGRESS_TRACK": "shop.*"}),
        ("task_progress.E005", {"PROGRESS_IGNORE": "shop.*"}),
        ("task_progress.E005", {"PROGRESS_ORIGINS": "https://a.example"}),
        ("task_progress.E005", {"PROGRESS_OWNER": "no.such.function"}),
        ("task_progress.E005", {"PROGRESS_AUTHORIZE": "no.such.function"}),
        ("task_progress.E024", {"PROGRESS_AUTHORIZE": "asyncio.sleep"}),
        ("task_progress.E005", {"PROGRESS_INTERVAL": "soon"}),
        ("task_progress.E005", {"PROGRESS_REDACT": "no.such.function"}),
        ("task_progress.E005", {"PROGRESS_REDACT": ["password"]}),
        ("task_progress.E005", {"PROGRESS_MAX_CONNECTIONS": "many"}),
        ("task_progress.E005", {"PROGRESS_TRUSTED_PROXIES": "127.0.0.1"}),
        ("task_progress.E005", {"PROGRESS_TRUSTED_PROXIES": ["nginx"]}),
        ("task_progress.E020", {"PROGRESS_MAX_WATCHES": -1}),
        ("task_progress.E020", {"PROGRESS_MAX_JOINS": -1}),
        ("task_progress.E020", {"PROGRESS_MAX_CONNECTIONS_PER_ADDRESS": -1}),
        ("task_progress.E005", _core_layer({"host": "a", "credential_provider": "provided", "socket_timeout": None})),
        ("task_progress.E005", {"CHANNEL_LAYERS": {"default": {**PUBSUB, "CONFIG": {"hosts": "redis://a"}}}}),
        ("task_progress.E006", {"PROGRESS_STORE": None}),
        ("task_progress.E007", {"PROGRESS_RETENTION": 0}),
        ("task_progress.E007", {"PROGRESS_INTERVAL": float("nan")}),
        ("task_progress.E007", {"PROGRESS_IDLE_INTERVAL": float("inf")}),
        ("task_progress.E007", {"PROGRESS_HISTORY_BACKLOG": 0}),
        ("task_progress.E008", {"PROGRESS_PREFIX": ""}),
        ("task_progress.E008", {"PROGRESS_PREFIX": "x" * 51}),
        ("task_progress.E009", {"PROGRESS_ORIGINS": ["https://a.example/"]}),
        ("task_progress.E009", {"PROGRESS_ORIGINS": ["a.example"]}),
        ("task_progress.E011", {"PROGRESS_TASKS": {"shop.*": True}}),
        ("task_progress.E018", {"PROGRESS_REDIS_URL": "redis://:a/b@host:6379/0"}),
        ("task_progress.E018", {"PROGRESS_REDIS_URL": "redis+sentinel://a:26379"}),
        ("task_progress.E018", _core_layer({"address": "localhost:6379", "socket_timeout": None})),
    ],
    ids=str,
)
def test_each_setting_is_checked_for_more_than_one_mistake(
    settings: Any, expected: str, wrong: dict[str, Any]
) -> None:
    """The mistakes that people make with each setting, under the id that stands for it."""
    for name, value in wrong.items():
        setattr(settings, name, value)
    assert ids() == [expected]


def test_no_message_tells_a_password(settings: Any) -> None:
    """What is wrong with a URL is said without the URL."""
    for url in ("redis://me:s3cr3t/@host:6379/0", "redis+sentinel://me:s3cr3t@a:1", "http://me:s3cr3t@a"):
        settings.PROGRESS_REDIS_URL = url
        (message,) = found()
        assert message.id == "task_progress.E018"
        assert "s3cr3t" not in f"{message.msg}{message.hint}"


def test_a_second_owner_of_our_folder_is_named(monkeypatch: Any) -> None:
    """Another package that is installed in the same folder has overwritten ours, or will."""
    monkeypatch.setattr(checks.installed, "others", lambda: ["progress"])
    (message,) = found()
    assert message.id == "task_progress.W019"
    assert "'progress'" in message.msg
    assert "pip uninstall progress" in message.hint


@pytest.mark.parametrize(
    "right",
    [
        {"CHANNEL_LAYERS": {"progress": PUBSUB}},
        {"CHANNEL_LAYERS": {"mine": PUBSUB}, "PROGRESS_CHANNEL_LAYER": "mine"},
        {"PROGRESS_ORIGINS": ["https://a.example:8443"]},
        {"CSRF_TRUSTED_ORIGINS": ["https://*.a.example"]},
        {"ALLOWED_HOSTS": ["*"], "DEBUG": True},
        {"PROGRESS_TASKS": {"shop.*": {"title": "Orders"}}},
        {"MIDDLEWARE": [checks.AUTH_MIDDLEWARE, checks.OWNER_MIDDLEWARE]},
        {"MIDDLEWARE": []},
        _core_layer({"address": "redis://a", "socket_timeout": None}),
        _core_layer({"address": "redis://a", "socket_timeout": 30}),
        {"PROGRESS_REDIS_URL": "rediss://me:p%25%40%2F@a.example:6380/3?ssl_ca_certs=/etc/ca.pem"},
        {"PROGRESS_REDIS_URL": "unix://me:secret@/run/redis.sock?db=1"},
        {"PROGRESS_REDIS_URL": "redis+sentinel://me:secret@a:26379,b/mymaster/2?sentinel_password=x"},
        {"PROGRESS_REDIS_URL": "redis://a", "CHANNEL_LAYERS": {"default": {"BACKEND": "some.Layer"}}},
        {"CHANNEL_LAYERS": {"default": {"BACKEND": "some.Layer", "CONFIG": {"hosts": ["redis://a"]}}}},
    ],
    ids=str,
)
def test_what_is_right_is_not_complained_about(settings: Any, right: dict[str, Any]) -> None:
    """The ways out that the hints name are accepted."""
    settings.PROGRESS_STORE = "redis" if "CHANNEL_LAYERS" in right else settings.PROGRESS_STORE
    for name, value in right.items():
        setattr(settings, name, value)
    assert found() == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("accept_content", ["json", "pickle"]),
        ("accept_content", ["application/x-python-serialize"]),
        ("result_accept_content", {"pickle"}),
        ("task_serializer", "pickle"),
        ("result_serializer", "pickle"),
    ],
    ids=str,
)
def test_pickle_is_warned_of(monkeypatch: Any, name: str, value: Any) -> None:
    """Whoever can write to the broker could run code in a worker."""
    monkeypatch.setitem(current_app.conf, name, value)
    (message,) = found()
    assert message.id == "task_progress.W021"
    assert name in message.msg
    assert "json" in str(message.hint)


@pytest.fixture
def tasks_of_this_test() -> Iterator[None]:
    """Tasks that a test declares are gone afterwards."""
    before = set(current_app._tasks)
    yield
    for name in set(current_app._tasks) - before:
        del current_app._tasks[name]


@pytest.mark.usefixtures("tasks_of_this_test")
def test_a_body_that_would_never_run_is_found() -> None:
    """Celery ends an `async def` task as SUCCESS without running it."""

    async def body() -> None: ...

    current_app.task(body, name="tests.checks.asynchronous", lazy=False)
    assert ids() == ["task_progress.W015"]


@pytest.mark.usefixtures("tasks_of_this_test")
def test_options_above_the_decorator_are_found() -> None:
    """Options that were put on the task object, where nobody looks, are said to have no effect."""

    def body() -> None: ...

    task = current_app.task(body, name="tests.checks.above", lazy=False)
    setattr(task, ATTRIBUTE, {"title": "Above"})
    assert ids() == ["task_progress.E016"]


@pytest.mark.usefixtures("tasks_of_this_test")
def test_options_below_the_decorator_are_right() -> None:
    """The documented order has no complaint."""

    @shared_task(name="tests.checks.below", lazy=False)
    @progress.options(title="Below")
    def body() -> None: ...

    assert ids() == []


def test_checks_ask_nobody(monkeypatch: Any, settings: Any) -> None:
    """No check opens a connection: `manage.py check` works where nothing runs."""
    import socket

    def refuse(*_args: Any) -> None:
        raise AssertionError("A check used the network.")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    settings.PROGRESS_STORE = "redis"
    settings.CHANNEL_LAYERS = {"default": PUBSUB}
    assert found() == []
