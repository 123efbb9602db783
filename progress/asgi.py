"""How a site gets the sockets: two lines at the end of its `asgi.py`, around whatever application it has.

``from progress.asgi import with_progress`` and ``application = with_progress(application)``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final

from django.conf import settings

from .exceptions import ProgressError

Application = Callable[[dict[str, Any], Any, Any], Awaitable[None]]

BELOW: Final = "ws/progress/"  # as in `routing.py`


def with_progress(application: Application) -> Application:
    """An ASGI application that serves the sockets under ``/ws/progress/``, and is `application` for all else.

    Pages, the site's own sockets and lifespan events reach `application` untouched; answers of our views that are
    streams of events go on when `application` is done with them. Below a script name
    (`FORCE_SCRIPT_NAME`, or the server's root path) the sockets are there too, whether or not a proxy has taken it
    off. Call it when Django is set up: after ``get_asgi_application()``.
    """
    # Here, not above: a formatter may move the import of this module before the one that loads the apps.
    from channels.routing import URLRouter

    from .events import EventStreams
    from .middleware import ViewerMiddleware
    from .origins import OriginCheck
    from .recorder import with_recorder
    from .routing import websocket_urlpatterns
    from .servers import FlowControl
    from .store import get_store

    # Loads what the first watcher would wait for, a quarter of a second. It connects to nothing.
    with suppress(ProgressError):
        get_store()

    # Around ours alone: how the site's own sockets treat a reader that does not keep up is the site's choice.
    sockets: Application = FlowControl(OriginCheck(ViewerMiddleware(URLRouter(websocket_urlpatterns))))

    pages = EventStreams(application)

    async def with_sockets(scope: dict[str, Any], receive: Any, send: Any) -> None:
        path = below_script_name(scope) if scope["type"] == "websocket" else ""
        if path.startswith(BELOW):
            await sockets({**scope, "path_remaining": path}, receive, send)
        else:
            await pages(scope, receive, send)

    return with_recorder(with_sockets)


def below_script_name(scope: dict[str, Any]) -> str:
    """The path of a connection without a leading slash, and without the script name if it is there."""
    path: str = scope["path"]
    for name in (scope.get("root_path"), settings.FORCE_SCRIPT_NAME):
        script = "/" + (name or "").strip("/")
        if script != "/" and path.startswith(f"{script}/"):
            return path.removeprefix(script).lstrip("/")
    return path.lstrip("/")
