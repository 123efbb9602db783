"""Who is asking: kept for tasks that a request sends, found out for sockets that a page opens."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from importlib import import_module
from typing import Any, Final

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.conf import settings
from django.contrib.auth import get_user
from django.db import close_old_connections
from django.http import HttpRequest, HttpResponseBase
from django.http.cookie import parse_cookie

from .native_pool import NativePool
from .owners import current_request
from .permissions import Viewer, viewer_of

logger = logging.getLogger(__name__)

LOOKUP_TIMEOUT: Final = 2.0  # seconds; a database that takes longer makes a socket wait no longer than that
CACHE_SECONDS: Final = 5.0  # how old what is known of a session may be when a connection opens; see `reviews.py`
CACHE_SIZE: Final = 10_000  # sessions

# Its own threads: Channels' single shared one would let one slow query hold up every socket of the process.
_lookups: Final = NativePool(4, "progress-viewer")


class OwnerMiddleware:
    """Django middleware: tasks sent while a request is handled belong to its user. Sync and async.

    For async views who has a session cookie is looked up before the view: the session counts as accessed, so such
    answers carry ``Vary: Cookie``. If the look-up fails, the request goes on and its tasks belong to nobody.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        self.get_response = get_response
        self.is_async = iscoroutinefunction(get_response)
        if self.is_async:
            markcoroutinefunction(self)
        else:
            self.process_view = self._before_view

    def __call__(self, request: HttpRequest) -> Any:
        """Keep the request while it is handled."""
        if self.is_async:
            return self._acall(request)
        token = current_request.set(request)
        try:
            return self.get_response(request)
        finally:
            current_request.reset(token)

    def _before_view(self, request: HttpRequest, view: Callable[..., Any], *_args: Any) -> None:
        # Under WSGI too an async view runs in an event loop, which cannot ask the database for a lazy user.
        if iscoroutinefunction(view) and settings.SESSION_COOKIE_NAME in request.COOKIES and hasattr(request, "user"):
            try:
                _ = request.user.pk
            except Exception as error:  # noqa: BLE001 (the view may need no user; if it does, it meets this itself)
                logger.debug("A request goes on without an owner: %r", error)

    async def _acall(self, request: HttpRequest) -> HttpResponseBase:
        # An event loop cannot ask the database when the task is sent; who has no session costs nothing here.
        if settings.SESSION_COOKIE_NAME in request.COOKIES and hasattr(request, "auser"):
            try:
                request.progress_user = await request.auser()  # type: ignore[attr-defined]
            except Exception as error:  # noqa: BLE001 (the view may need no user; if it does, it meets this itself)
                logger.debug("A request goes on without an owner: %r", error)
        token = current_request.set(request)
        try:
            response: HttpResponseBase = await self.get_response(request)
            return response
        finally:
            current_request.reset(token)


class ViewerMiddleware:
    """ASGI middleware for sockets: puts the session's `Viewer` into the scope, as a function to ask again."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Read the session cookie, then go on; the consumer asks when it needs to know."""
        session = _session_key(scope["headers"])

        async def viewer() -> Viewer:
            return await viewer_of_session(session)

        await self.app({**scope, "progress.viewer": viewer, "progress.session": session or ""}, receive, send)


_cache: OrderedDict[str, tuple[float, asyncio.Future[Viewer]]] = OrderedDict()


async def viewer_of_session(session_key: str | None) -> Viewer:
    """The viewer that a session belongs to; nobody if there is none.

    Believed for 5 s, shared by all sockets of the session. Raises `TimeoutError` when the database is slow.
    """
    if not session_key:
        return Viewer()
    loop, now = asyncio.get_running_loop(), time.monotonic()
    found, known = _cache.get(session_key, (0.0, None))
    usable = known is not None and known.get_loop() is loop and now - found < CACHE_SECONDS
    if known is None or not usable or (known.done() and known.exception() is not None):
        known = asyncio.ensure_future(loop.run_in_executor(_lookups, _look_up, session_key))
        _cache[session_key] = (now, known)
        _cache.move_to_end(session_key)
        while len(_cache) > CACHE_SIZE:
            _cache.popitem(last=False)
    async with asyncio.timeout(LOOKUP_TIMEOUT):
        return await asyncio.shield(known)


def _look_up(session_key: str) -> Viewer:
    close_old_connections()
    try:
        request = HttpRequest()
        request.session = _read_only(session_key)
        return viewer_of(get_user(request))
    finally:
        close_old_connections()


def _read_only(session_key: str) -> Any:
    """The site's session, which looking does not change.

    Django gives a session a new key when it was signed with an old `SECRET_KEY`, and empties one that does not
    fit its user. A socket cannot tell the browser its new cookie, so here either would log the user out.
    """
    session = import_module(settings.SESSION_ENGINE).SessionStore(session_key)
    for name in ("save", "cycle_key", "flush", "delete"):
        # On the instance: a subclass would have another `key_salt`, and with that could read nothing.
        setattr(session, name, lambda *_args, **_kwargs: None)
    return session


def _session_key(headers: list[tuple[bytes, bytes]]) -> str | None:
    """Cookies as Django reads them: an odd one of another program must not hide ours."""
    cookies = "; ".join(value.decode("latin1") for name, value in headers if name == b"cookie")
    return parse_cookie(cookies).get(settings.SESSION_COOKIE_NAME) or None
