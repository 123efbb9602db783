"""Threads whose calls ask the database: a connection serves all calls that wait, and ends when none does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.db import connections

from .native_pool import NativePool, QueuedCall


class DatabasePool(NativePool):
    """Each call finds connections as sound as a request does, but not a new one each time.

    `CONN_MAX_AGE` is 0 by default: a crowd would pay for a connection per call, which costs more than the query.
    """

    def submit(self, call: Callable[..., Any], /, *args: Any, **kwargs: Any) -> QueuedCall:
        """What `call` will have returned."""
        return super().submit(_with_sound_connections, call, *args, **kwargs)

    def rest(self) -> None:
        """What Django does after a request."""
        for connection in connections.all(initialized_only=True):
            connection.close_if_unusable_or_obsolete()


def _with_sound_connections(call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    for connection in connections.all(initialized_only=True):
        of_one_request = connection.settings_dict["CONN_MAX_AGE"] == 0
        if connection.connection is None or not (of_one_request and _is_as_it_was(connection)):
            connection.close_if_unusable_or_obsolete()
    return call(*args, **kwargs)


def _is_as_it_was(connection: Any) -> bool:
    return bool(
        not connection.errors_occurred and connection.get_autocommit() == connection.settings_dict["AUTOCOMMIT"]
    )
