"""Watch tokens: signed, scoped, expiring rights for people and programs without a session.

A token names one task (or the root of a workflow), what it allows, whose it is and when it ends. It is signed
with ``SECRET_KEY``, not encrypted. It travels in the first message or in a header, never in a URL.
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final

from django.core import signing

from . import snapshot
from .exceptions import InvalidToken, ProgressError
from .owners import owner_id

SALT: Final = "progress.watch"
ACTIONS: Final = frozenset({"watch", "cancel"})


@dataclass(frozen=True, slots=True)
class WatchToken:
    """What a valid token says. `expires` is in seconds since 1970."""

    key: str
    actions: frozenset[str]
    user: str
    expires: float

    @property
    def expired(self) -> bool:
        """True once its time is over."""
        return time.time() >= self.expires

    @property
    def until(self) -> str:
        """When it ends, ISO 8601 UTC."""
        moment = dt.datetime.fromtimestamp(self.expires, dt.UTC)
        return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def watch_token(task_id: str, user: Any = None, expires: float = 3600, actions: Collection[str] = ("watch",)) -> str:
    """A token that lets its bearer watch the task `task_id`, or all tasks of the workflow with that root.

    `expires` is in seconds from now. `user` (an object with a ``pk``) is recorded in it. `actions` may add
    "cancel". The task need not exist yet. Raises `ProgressError` for an unknown action or a time that is over.
    """
    if unknown := set(actions) - ACTIONS:
        raise ProgressError(f"actions may be {', '.join(sorted(ACTIONS))}; got {', '.join(sorted(unknown))}.")
    if expires <= 0:
        raise ProgressError(f"expires must be seconds from now, more than 0; got {expires}.")
    content = [snapshot.key(str(task_id)), sorted(actions), owner_id(user), round(time.time() + expires, 3)]
    return signing.dumps(content, salt=SALT, compress=False)


def read_token(text: str) -> WatchToken:
    """The content of `text`. Raises `InvalidToken` when it is forged, damaged or over."""
    try:
        key, actions, user, expires = signing.loads(text, salt=SALT)
        token = WatchToken(str(key), frozenset(actions), str(user), float(expires))
    except (signing.BadSignature, ValueError, TypeError):
        raise InvalidToken from None
    if token.expired:
        raise InvalidToken
    return token
