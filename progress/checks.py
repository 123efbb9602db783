"""Every misconfiguration that can be seen without asking the network, each with what to do about it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register  # noqa: A004 (Django's own name)

from . import installed, redis_url
from .conf import NAMES, conf
from .exceptions import ProgressError

IN_MEMORY = "channels.layers.InMemoryChannelLayer"
CORE = "channels_redis.core.RedisChannelLayer"
BLOCKING_READ = 5.0  # seconds, of the core layer; also the time-out of redis-py 8 where none is set
OWNER_MIDDLEWARE = "progress.middleware.OwnerMiddleware"
POSITIVE = (
    "PROGRESS_INTERVAL",
    "PROGRESS_IDLE_INTERVAL",
    "PROGRESS_SWEEP_INTERVAL",
    "PROGRESS_RETENTION",
    "PROGRESS_HISTORY_BACKLOG",
)
AUTH_MIDDLEWARE = "django.contrib.auth.middleware.AuthenticationMiddleware"


@register("progress")
def check_layer(**_kwargs: Any) -> list[CheckMessage]:
    """The channel layer carries hints between processes."""
    alias = conf.PROGRESS_CHANNEL_LAYER
    layer = getattr(settings, "CHANNEL_LAYERS", {}).get(alias)
    if layer is None:
        return [
            Error(
                f"CHANNEL_LAYERS has no {alias!r}: progress reaches no browser.",
                hint=(
                    "Add it: {'BACKEND': 'channels_redis.pubsub.RedisPubSubChannelLayer', 'CONFIG': {'hosts': "
                    "[{'address': 'redis://localhost:6379/0', 'socket_keepalive': False}]}}; or name another alias "
                    "in PROGRESS_CHANNEL_LAYER."
                ),
                id="task_progress.E001",
            )
        ]
    if layer.get("BACKEND") == IN_MEMORY and conf.PROGRESS_STORE == "redis":
        return [
            Warning(
                "The in-memory channel layer connects no two processes: reports reach browsers late.",
                hint="Use channels_redis.pubsub.RedisPubSubChannelLayer; in tests set PROGRESS_STORE = 'memory'.",
                id="task_progress.W002",
            )
        ]
    foreign = not str(layer.get("BACKEND")).startswith("channels_redis.")
    if foreign and conf.PROGRESS_STORE == "redis" and not layer.get("CONFIG", {}).get("hosts"):
        return _check_redis_is_named(alias)
    if layer.get("BACKEND") == CORE and not _blocking_reads_may_last(layer):
        return [
            Warning(
                "With redis-py 8 the core channel layer drops every idle consumer after 5 seconds.",
                hint="Give its hosts as {'address': url, 'socket_timeout': None}, or use the pub/sub layer.",
                id="task_progress.W003",
            )
        ]
    return []


def _check_redis_is_named(alias: str) -> list[CheckMessage]:
    if getattr(settings, "PROGRESS_REDIS_URL", None):
        return []
    return [
        Warning(
            f"CHANNEL_LAYERS[{alias!r}] names no Redis: records are kept in {redis_url.LOCAL}.",
            hint="Set PROGRESS_REDIS_URL to the Redis that keeps them.",
            id="task_progress.W017",
        )
    ]


def _blocking_reads_may_last(layer: dict[str, Any]) -> bool:
    import redis

    if int(redis.__version__.split(".")[0]) < 8:
        return True
    for host in layer.get("CONFIG", {}).get("hosts") or [None]:
        timeout = host.get("socket_timeout", BLOCKING_READ) if isinstance(host, Mapping) else BLOCKING_READ
        if timeout is not None and timeout <= BLOCKING_READ:
            return False
    return True


@register("progress")
def check_settings(**_kwargs: Any) -> list[CheckMessage]:
    """Names and values of our settings."""
    found: list[CheckMessage] = []
    for name in sorted(dir(settings)):
        if name.startswith("PROGRESS_") and name not in NAMES:
            found.append(
                Error(
                    f"{name} is no setting of progress.",
                    hint=f"The settings are {', '.join(NAMES)}.",
                    id="task_progress.E004",
                )
            )
    for name in NAMES:
        try:
            getattr(conf, name)
        except (ProgressError, ImportError, TypeError, ValueError) as error:
            found.append(
                Error(f"{name} cannot be read: {error}", hint="See docs/settings.md.", id="task_progress.E005")
            )
    if found:
        return found
    return [
        *_check_store(),
        *_check_recorder(),
        *_check_redis_url(),
        *_check_numbers(),
        *_check_prefix(),
        *_check_origins(),
        *_check_task_options(),
    ]


def _check_store() -> list[CheckMessage]:
    if conf.PROGRESS_STORE in ("redis", "memory"):
        return []
    return [Error('PROGRESS_STORE must be "redis" or "memory".', hint='Use "redis".', id="task_progress.E006")]


def _check_recorder() -> list[CheckMessage]:
    found: list[CheckMessage] = []
    if conf.PROGRESS_RECORDER not in ("server", "command", ""):
        hint = 'Use "server", "command" (then run manage.py record_runs) or "" for no history.'
        found.append(
            Error(f"PROGRESS_RECORDER cannot be {conf.PROGRESS_RECORDER!r}.", hint=hint, id="task_progress.E022")
        )
    if conf.PROGRESS_HISTORY_RETENTION < 0:
        found.append(
            Error(
                "PROGRESS_HISTORY_RETENTION must not be less than 0.", hint="0 is for ever.", id="task_progress.E023"
            )
        )
    return found


def _check_redis_url() -> list[CheckMessage]:
    try:
        redis_url.check(conf.PROGRESS_REDIS_URL)
    except ProgressError as error:
        named = "PROGRESS_REDIS_URL" if getattr(settings, "PROGRESS_REDIS_URL", None) else "The channel layer's host"
        return [
            Error(
                f"{named} leads to no Redis: {error}.",
                hint="Set PROGRESS_REDIS_URL to a URL as docs/settings.md shows them.",
                id="task_progress.E018",
            )
        ]
    return []


def _check_numbers() -> list[CheckMessage]:
    return [
        Error(
            f"{name} must be a number of more than 0.", hint="Remove it to get the default.", id="task_progress.E007"
        )
        for name in POSITIVE
        if not 0 < getattr(conf, name) < math.inf  # what is no number is not more than 0 either
    ]


def _check_prefix() -> list[CheckMessage]:
    prefix = conf.PROGRESS_PREFIX
    allowed = prefix and len(prefix) <= 50 and all(c.isascii() and (c.isalnum() or c in "-_.") for c in prefix)
    if allowed:
        return []
    return [
        Error(
            f"PROGRESS_PREFIX {prefix!r} cannot be part of a group name.",
            hint="Use up to 50 letters, digits, '-', '_' and '.'.",
            id="task_progress.E008",
        )
    ]


def _check_origins() -> list[CheckMessage]:
    wrong = [each for each in conf.PROGRESS_ORIGINS if "*" in each or "://" not in each or each.count("/") > 2]
    found: list[CheckMessage] = []
    if wrong and "PROGRESS_ORIGINS" in dir(settings):
        found.append(
            Error(
                f"PROGRESS_ORIGINS must list whole origins, got {', '.join(map(repr, wrong))}.",
                hint="Write each as scheme://host[:port], without wildcards and without a slash at the end.",
                id="task_progress.E009",
            )
        )
    if "*" in settings.ALLOWED_HOSTS and not settings.DEBUG:
        found.append(
            Error(
                "ALLOWED_HOSTS = ['*'] lets any site open sockets with your users' cookies.",
                hint="List the hosts that this site is served under.",
                id="task_progress.E010",
            )
        )
    return found


def _check_task_options() -> list[CheckMessage]:
    from .options import check

    found: list[CheckMessage] = []
    for pattern, values in conf.PROGRESS_TASKS.items():
        try:
            check(values, f"PROGRESS_TASKS[{pattern!r}]")
        except ProgressError as error:
            found.append(
                Error(str(error), hint="docs/reporting.md lists the options of a task.", id="task_progress.E011")
            )
    return found


@register("progress")
def check_installation(**_kwargs: Any) -> list[CheckMessage]:
    """Order of apps and middleware."""
    found: list[CheckMessage] = []
    middleware: Sequence[str] = list(settings.MIDDLEWARE)
    if OWNER_MIDDLEWARE in middleware and AUTH_MIDDLEWARE in middleware:
        if middleware.index(OWNER_MIDDLEWARE) < middleware.index(AUTH_MIDDLEWARE):
            found.append(
                Error(
                    "OwnerMiddleware comes before AuthenticationMiddleware: it would never know the user.",
                    hint=f"Move {OWNER_MIDDLEWARE!r} below {AUTH_MIDDLEWARE!r} in MIDDLEWARE.",
                    id="task_progress.E012",
                )
            )
    elif middleware and OWNER_MIDDLEWARE not in middleware:
        found.append(
            Warning(
                "OwnerMiddleware is missing: tasks belong to nobody, so nobody but staff may watch them.",
                hint=f"Add {OWNER_MIDDLEWARE!r} to the end of MIDDLEWARE, or name owners with progress.owner(user).",
                id="task_progress.W013",
            )
        )
    apps = list(settings.INSTALLED_APPS)
    statics = "django.contrib.staticfiles"
    if "daphne" in apps and statics in apps and apps.index("daphne") > apps.index(statics):
        found.append(
            Error(
                "daphne comes after django.contrib.staticfiles: runserver would serve no WebSockets.",
                hint="Move 'daphne' to the top of INSTALLED_APPS.",
                id="task_progress.E014",
            )
        )
    return [*found, *_check_neighbours()]


def _check_neighbours() -> list[CheckMessage]:
    return [
        Warning(
            f"The package {name!r} is installed in the folder of this one: each has overwritten files of the other.",
            hint=f"pip uninstall {name}; then install {installed.OURS} again, with --force-reinstall.",
            id="task_progress.W019",
        )
        for name in installed.others()
    ]


@register("progress")
def check_task_bodies(**_kwargs: Any) -> list[CheckMessage]:
    """Tasks whose body would not run, or is marked in a way that has no effect."""
    import inspect

    from celery import current_app

    from .options import ATTRIBUTE

    found: list[CheckMessage] = []
    for name, task in current_app._tasks.items():  # those that are loaded; a check evaluates none
        body: Callable[..., Any] = task.run
        if inspect.iscoroutinefunction(body):
            found.append(
                Warning(
                    f"The body of task {name} is async: Celery ends it as SUCCESS without running it.",
                    hint="Make it a plain function that calls asyncio.run(…) inside.",
                    id="task_progress.W015",
                )
            )
        if ATTRIBUTE in vars(task):
            found.append(
                Error(
                    f"@progress.options stands above Celery's decorator at task {name} and has no effect.",
                    hint="Put it below @shared_task or @app.task.",
                    id="task_progress.E016",
                )
            )
    return found
