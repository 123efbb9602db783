"""Who is asking: kept for tasks that a request sends, found out for sockets that a page opens."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http.cookies import CookieError, SimpleCookie
from importlib import import_module
from typing import Any, Final

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.conf import settings
from django.contrib.auth import get_user
from django.db import close_old_connections
from django.http import HttpRequest, HttpResponseBase

from .owners import current_request
from .permissions import Viewer, viewer_of

LOOKUP_TIMEOUT: Final = 2.0  # seconds; a database that takes longer makes a socket wait no longer than that
CACHE_SECONDS: Final = 30.0  # how long a session's viewer is believed; logging out is seen within 60 s
CACHE_SIZE: Final = 10_000  # sessions

# Its own threads: Channels' single shared one would let one slow query hold up every socket of the process.
_lookups: Final = ThreadPoolExecutor(max_workers=4, thread_name_prefix="progress-viewer")


class OwnerMiddleware:
    """Django middleware: tasks sent while a request is handled belong to its user. Sync and async."""

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
            _ = request.user.pk

    async def _acall(self, request: HttpRequest) -> HttpResponseBase:
        # An event loop cannot ask the database when the task is sent; who has no session costs nothing here.
        if settings.SESSION_COOKIE_NAME in request.COOKIES and hasattr(request, "auser"):
            request.progress_user = await request.auser()  # type: ignore[attr-defined]
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

        await self.app({**scope, "progress.viewer": viewer}, receive, send)


_cache: OrderedDict[str, tuple[float, asyncio.Future[Viewer]]] = OrderedDict()


async def viewer_of_session(session_key: str | None) -> Viewer:
    """The viewer that a session belongs to; nobody if there is none.

    Believed for 30 s, shared by all sockets of the session. Raises `TimeoutError` when the database is slow.
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
        request.session = import_module(settings.SESSION_ENGINE).SessionStore(session_key)
        return viewer_of(get_user(request))
    finally:
        close_old_connections()


def _session_key(headers: list[tuple[bytes, bytes]]) -> str | None:
    cookies: SimpleCookie = SimpleCookie()
    for name, value in headers:
        if name == b"cookie":
            try:
                cookies.load(value.decode("latin1"))
            except CookieError:
                return None
    morsel = cookies.get(settings.SESSION_COOKIE_NAME)
    return morsel.value if morsel else None
