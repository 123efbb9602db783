"""The settings, one typed property each, read when they are used. `docs/settings.md` lists them.

Durations are in seconds. Nothing is read at import time, so ``override_settings`` works.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any

from django.conf import settings
from django.utils.module_loading import import_string

from . import redis_url
from .exceptions import ProgressError


class Settings:
    """``conf.PROGRESS_X`` is the site's setting of that name, or its default."""

    @property
    def PROGRESS_STORE(self) -> str:  # noqa: N802 (settings are upper case)
        """Where records live: "redis", or "memory" for test suites and single processes without Redis."""
        return str(getattr(settings, "PROGRESS_STORE", "redis"))

    @property
    def PROGRESS_CHANNEL_LAYER(self) -> str:  # noqa: N802
        """Alias of the channel layer that carries hints: "progress" if it is configured, else "default"."""
        layers = getattr(settings, "CHANNEL_LAYERS", {})
        default = "progress" if "progress" in layers else "default"
        return str(getattr(settings, "PROGRESS_CHANNEL_LAYER", default))

    @property
    def PROGRESS_REDIS_URL(self) -> str:  # noqa: N802
        """URL of the Redis that keeps the records, in a form of `redis_url`; default: the channel layer's first host.

        Raises `ProgressError` when that host is written in a way that no URL can say.
        """
        explicit = getattr(settings, "PROGRESS_REDIS_URL", None)
        return str(explicit) if explicit else self._first_layer_host()

    @property
    def PROGRESS_PREFIX(self) -> str:  # noqa: N802
        """First part of every key, group and lease. Give each site and environment in one Redis its own:
        pub/sub ignores database numbers.
        """
        return str(getattr(settings, "PROGRESS_PREFIX", "progress"))

    @property
    def PROGRESS_INTERVAL(self) -> float:  # noqa: N802
        """Seconds between two reports of a task that somebody watches: ten a second look continuous."""
        return float(getattr(settings, "PROGRESS_INTERVAL", 0.1))

    @property
    def PROGRESS_IDLE_INTERVAL(self) -> float:  # noqa: N802
        """Seconds between two reports of a task that nobody watches."""
        return float(getattr(settings, "PROGRESS_IDLE_INTERVAL", 4.0))

    @property
    def PROGRESS_SWEEP_INTERVAL(self) -> float:  # noqa: N802
        """Seconds between two looks of a server at everything its browsers watch. A lost push costs this."""
        return float(getattr(settings, "PROGRESS_SWEEP_INTERVAL", 4.0))

    @property
    def PROGRESS_RETENTION(self) -> int:  # noqa: N802
        """Seconds for which an ended task can still be looked at (a day)."""
        return int(getattr(settings, "PROGRESS_RETENTION", 24 * 3600))

    @property
    def PROGRESS_MAX_WATCHES(self) -> int:  # noqa: N802
        """Tasks that one connection may watch; 0 in the settings is no limit."""
        return int(getattr(settings, "PROGRESS_MAX_WATCHES", 500)) or sys.maxsize

    @property
    def PROGRESS_MAX_CONNECTIONS(self) -> int:  # noqa: N802
        """Connections that one user may have in one server process; 0 = no limit."""
        return int(getattr(settings, "PROGRESS_MAX_CONNECTIONS", 20))

    @property
    def PROGRESS_MAX_JOINS(self) -> int:  # noqa: N802
        """Connections that one user may open in a minute, in one server process; 0 = no limit."""
        return int(getattr(settings, "PROGRESS_MAX_JOINS", 60))

    @property
    def PROGRESS_MAX_CONNECTIONS_PER_ADDRESS(self) -> int:  # noqa: N802
        """Connections without session and token from one address, where proxies are trusted; 0 = no limit."""
        return int(getattr(settings, "PROGRESS_MAX_CONNECTIONS_PER_ADDRESS", 100))

    @property
    def PROGRESS_TRUSTED_PROXIES(self) -> Sequence[IPv4Network | IPv6Network]:  # noqa: N802
        """Addresses or networks of proxies whose ``X-Forwarded-For`` is believed."""
        return [ip_network(each) for each in self._list("PROGRESS_TRUSTED_PROXIES", [])]

    @property
    def PROGRESS_ORIGINS(self) -> Sequence[str]:  # noqa: N802
        """Origins (scheme, host, port) that may open sockets besides the page's own host."""
        return self._list("PROGRESS_ORIGINS", getattr(settings, "CSRF_TRUSTED_ORIGINS", []))

    @property
    def PROGRESS_AUTHORIZE(self) -> Callable[..., Any] | None:  # noqa: N802
        """Function (or its dotted path) ``(user, action, run) -> bool``, asked about what the rules do not allow."""
        return self._function("PROGRESS_AUTHORIZE")

    @property
    def PROGRESS_OWNER(self) -> Callable[..., Any] | None:  # noqa: N802
        """Function (or its dotted path) ``(task_name, headers) -> user or None``, asked when no request is known."""
        return self._function("PROGRESS_OWNER")

    @property
    def PROGRESS_REDACT(self) -> Callable[..., Any] | None:  # noqa: N802
        """Function (or its dotted path) ``(task, what, name, value) -> value or HIDDEN``: what of a task is shown."""
        return self._function("PROGRESS_REDACT")

    @property
    def PROGRESS_TASKS(self) -> Mapping[str, Mapping[str, Any]]:  # noqa: N802
        """Options for tasks that carry none: ``{"glob of task names": {option: value}}``."""
        return dict(getattr(settings, "PROGRESS_TASKS", {}))

    @property
    def PROGRESS_TRACK(self) -> Sequence[str]:  # noqa: N802
        """Globs of task names that are tracked."""
        return self._list("PROGRESS_TRACK", ["*"])

    @property
    def PROGRESS_IGNORE(self) -> Sequence[str]:  # noqa: N802
        """Globs of task names that are not tracked. ``celery.*`` never is."""
        return self._list("PROGRESS_IGNORE", [])

    @property
    def PROGRESS_EXIT_WHEN_DEAF(self) -> bool:  # noqa: N802
        """Whether a server process whose event loop is dead, or that hears nothing from a Redis that answers, leaves.

        For processes that are started again when they leave.
        """
        return bool(getattr(settings, "PROGRESS_EXIT_WHEN_DEAF", False))

    @property
    def PROGRESS_RECORDER(self) -> str:  # noqa: N802
        """Who writes the history: "server" (the processes that serve sockets), "command" (``manage.py record_runs``),
        or "" = nobody, then nothing is kept for it in Redis either.
        """
        return str(getattr(settings, "PROGRESS_RECORDER", "server") or "")

    @property
    def PROGRESS_HISTORY_RETENTION(self) -> int:  # noqa: N802
        """Seconds for which a run that has ended stays in the history (90 days); 0 = for ever."""
        return int(getattr(settings, "PROGRESS_HISTORY_RETENTION", 90 * 24 * 3600) or 0)

    @property
    def PROGRESS_HISTORY_BACKLOG(self) -> int:  # noqa: N802
        """Changes kept in Redis, 1 KB each, while nobody writes them into the history; older ones are dropped."""
        return int(getattr(settings, "PROGRESS_HISTORY_BACKLOG", 20_000))

    def _list(self, name: str, default: Sequence[str]) -> Sequence[str]:
        value = getattr(settings, name, default)
        if isinstance(value, str):  # its letters would be taken for the items
            raise ProgressError(f"{name} must be a list, got {value!r}. Write [{value!r}].")
        return list(value)

    def _function(self, name: str) -> Callable[..., Any] | None:
        value = getattr(settings, name, None)
        found = import_string(value) if isinstance(value, str) else value
        if found is not None and not callable(found):
            raise ProgressError(f"{name} must be a function or its dotted path, got {found!r}.")
        return found

    def _first_layer_host(self) -> str:
        layer = getattr(settings, "CHANNEL_LAYERS", {}).get(self.PROGRESS_CHANNEL_LAYER, {})
        hosts = layer.get("CONFIG", {}).get("hosts")
        return redis_url.of_hosts(hosts)


conf = Settings()

# Names of all settings, for the checks and the test that holds the documentation against them.
NAMES = tuple(sorted(name for name in vars(Settings) if re.fullmatch(r"PROGRESS_[A-Z_]+", name)))
