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
from django.http import HttpRequest, HttpResponseBase
from django.http.cookie import parse_cookie

from .database_pool import DatabasePool
from .native_pool import wait_in_turn
from .owners import current_request
from .permissions import Viewer, viewer_of

logger = logging.getLogger(__name__)

LOOKUP_TIMEOUT: Final = 2.0  # seconds; a database that answers nobody for longer keeps no socket waiting
CROWD_TIMEOUT: Final = 8.0  # seconds; a page waits ten for its first word. Who comes again shares the look-up
CACHE_SECONDS: Final = 5.0  # how old what is known of a session may be when a connection opens; see `reviews.py`
CACHE_SIZE: Final = 10_000  # sessions

# Its own threads: Channels' single shared one would let one slow query hold up every socket of the process.
_lookups: Final = DatabasePool(4, "progress-viewer")


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


class _LookUp:
    """Who a session belongs to, found out once for all who ask meanwhile. Belongs to one event loop."""

    def __init__(self, session_key: str) -> None:
        self.loop = asyncio.get_running_loop()
        self._call = _lookups.submit(_look_up, session_key)
        self._answer: asyncio.Future[Viewer] = asyncio.wrap_future(self._call)
        # It may fail when nobody waits any more; asyncio would complain.
        self._answer.add_done_callback(lambda answer: answer.cancelled() or answer.exception())

    @property
    def usable(self) -> bool:
        """True unless it has failed, or what it found is so old that it has to be found out again."""
        failed = self._answer.done() and (self._answer.cancelled() or self._answer.exception() is not None)
        begun = self._call.begun
        return not failed and (begun is None or time.monotonic() - begun < CACHE_SECONDS)

    async def viewer(self) -> Viewer:
        """The answer. Raises what the look-up does, and `TimeoutError` when the database is slow.

        When thousands come at once, each waits for its turn, up to 8 s, as long as others are answered.
        """
        if not await wait_in_turn([self._answer], lambda: self._call.moved, LOOKUP_TIMEOUT, CROWD_TIMEOUT):
            raise TimeoutError
        return self._answer.result()


_cache: OrderedDict[str, _LookUp] = OrderedDict()


async def viewer_of_session(session_key: str | None) -> Viewer:
    """The viewer that a session belongs to; nobody if there is none.

    Believed for 5 s, shared by all sockets of the session. Raises `TimeoutError` when the database is slow.
    """
    if not session_key:
        return Viewer()
    known = _cache.get(session_key)
    if known is None or known.loop is not asyncio.get_running_loop() or not known.usable:
        known = _cache[session_key] = _LookUp(session_key)
        _cache.move_to_end(session_key)
        while len(_cache) > CACHE_SIZE:
            _cache.popitem(last=False)
    return await known.viewer()


def _look_up(session_key: str) -> Viewer:
    request = HttpRequest()
    request.session = _read_only(session_key)
    return viewer_of(get_user(request))


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
