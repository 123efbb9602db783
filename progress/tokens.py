"""Watch tokens: signed, scoped, expiring rights for people and programs without a session.

A token names one task (or the root of a workflow), what it allows, whose it is and when it ends. It is signed
with ``SECRET_KEY``, not encrypted. It travels in the first message or in a header, never in a URL.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import time
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final

from django.core import signing

from . import snapshot
from .exceptions import InvalidToken, ProgressError
from .owners import owner_id
from .revocations import MAX_LIFETIME, revocations

SALT: Final = "progress.watch"
ACTIONS: Final = frozenset({"watch", "cancel"})


@dataclass(frozen=True, slots=True)
class WatchToken:
    """What a valid token says. `expires` and `issued` are in seconds since 1970; `digest` names this very token."""

    key: str
    actions: frozenset[str]
    user: str
    expires: float
    issued: float = 0.0  # of a release that did not write it down: before every revocation
    digest: str = ""

    @property
    def expired(self) -> bool:
        """True once its time is over."""
        return time.time() >= self.expires

    @property
    def about(self) -> tuple[str, ...]:
        """By which names it may be revoked."""
        return f"task:{self.key}", f"user:{self.user}", f"token:{self.digest}"

    @property
    def revoked(self) -> bool:
        """True once it is known here to be revoked."""
        return revocations().voids(self.about, self.issued)

    @property
    def over(self) -> bool:
        """True once it does not count any more: its time is over, or it is revoked."""
        return self.expired or self.revoked

    @property
    def until(self) -> str:
        """When it ends, ISO 8601 UTC."""
        moment = dt.datetime.fromtimestamp(self.expires, dt.UTC)
        return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def watch_token(task_id: str, user: Any = None, expires: float = 3600, actions: Collection[str] = ("watch",)) -> str:
    """A token that lets its bearer watch the task `task_id`, or all tasks of the workflow with that root.

    `expires` is in seconds from now, a year at most. `user` (an object with a ``pk``) is recorded in it. `actions`
    may add "cancel". The task need not exist yet. `revoke_token` and `revoke_tokens` end it before its time. Raises
    `ProgressError` for an unknown action, a time that is over and one that is too far.
    """
    if unknown := set(actions) - ACTIONS:
        raise ProgressError(f"actions may be {', '.join(sorted(ACTIONS))}; got {', '.join(sorted(unknown))}.")
    if not 0 < expires <= MAX_LIFETIME:
        raise ProgressError(f"expires must be seconds from now, more than 0 and up to a year; got {expires}.")
    now = time.time()
    content = [snapshot.key(str(task_id)), sorted(actions), owner_id(user), round(now + expires, 3), round(now, 6)]
    return signing.dumps(content, salt=SALT, compress=False)


def read_token(text: str) -> WatchToken:
    """The content of `text`. Raises `InvalidToken` when it is forged, damaged, over, or known here to be revoked."""
    try:
        key, actions, user, expires, *issued = signing.loads(text, salt=SALT)
        digest = hashlib.sha256(text.encode()).hexdigest()
        at = float(issued[0]) if issued else 0.0
        token = WatchToken(str(key), frozenset(actions), str(user), float(expires), at, digest)
    except (signing.BadSignature, ValueError, TypeError):
        raise InvalidToken from None
    if token.over:
        raise InvalidToken
    return token


def revoke_token(token: str) -> None:
    """Make this one token void, everywhere within a minute. Nothing happens if it is void already.

    Raises `StoreUnavailable`; then it counts as before.
    """
    try:
        revocations().add(f"token:{read_token(token).digest}")
    except InvalidToken:
        return


def revoke_tokens(task_id: str | None = None, user: Any = None) -> None:
    """Make every token void that was issued until now for the task (or workflow), or for the user: one of the two.

    Within a minute nobody watches by such a token any more. Tokens issued later count. Raises `ProgressError` unless
    exactly one is named, `StoreUnavailable` when it could not be kept; then they count as before.
    """
    named = [f"task:{snapshot.key(task_id)}"] if task_id is not None else []
    named += [f"user:{owner_id(user)}"] if owner_id(user) else []
    if len(named) != 1:
        raise ProgressError("Expected a task id or a user whose tokens are to be void; name exactly one of them.")
    revocations().add(named[0])
