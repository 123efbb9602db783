"""Whose task is it? Decided when the task is sent, with no code at the call site.

The owner is whoever made the request that enqueued it (`middleware.OwnerMiddleware` keeps the request here), or
who the running task belongs to, or what `owner()` or `PROGRESS_OWNER` says. Owners travel as ``str(pk)``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from django.http import HttpRequest

from .conf import conf

# The request that is being handled here, and who `owner()` named.
current_request: ContextVar[HttpRequest | None] = ContextVar("progress_request", default=None)
_named: ContextVar[str | None] = ContextVar("progress_owner", default=None)


@contextmanager
def owner(user: Any) -> Iterator[None]:
    """Tasks sent inside this block belong to `user` (an object with a ``pk``, a primary key, or None = nobody)."""
    token = _named.set(owner_id(user))
    try:
        yield
    finally:
        _named.reset(token)


def owner_id(user: Any) -> str:
    """How a user is written in records and headers: ``str(pk)``; "" for nobody and for anonymous users."""
    if user is None or getattr(user, "is_anonymous", False):
        return ""
    pk = getattr(user, "pk", user)
    return "" if pk is None else str(pk)


def owner_of_sending(name: str, headers: Mapping[str, Any], inherited: str | None) -> str:
    """Owner of the task `name` that is being sent now. `inherited`: the owner of the task that sends it."""
    if (named := _named.get()) is not None:
        return named
    if inherited is not None:
        return inherited
    if (found := _user_of_request()) is not None:
        return found
    hook = conf.PROGRESS_OWNER
    return owner_id(hook(name, headers)) if hook else ""


def _user_of_request() -> str | None:
    """The request's user as it is *now*: authentication that happens inside a view has replaced it by then."""
    request = current_request.get()
    if request is None:
        return None
    # In an event loop the lazy user would need a database query that is not allowed there; the middleware has
    # asked for it before. Whatever the view has put in its place since counts more.
    user = request.__dict__.get("user")
    if user is not None and _is_unresolved(user) and _in_event_loop():
        user = getattr(request, "progress_user", None)
    return owner_id(user) or None


def _is_unresolved(user: Any) -> bool:
    from django.utils.functional import LazyObject, empty

    return isinstance(user, LazyObject) and user.__dict__.get("_wrapped", empty) is empty


def _in_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
