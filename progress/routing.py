"""Where the sockets are. The last route takes everything else, so that a wrong address is no server error."""

from __future__ import annotations

from typing import Any

from django.urls import path, re_path

from .consumers import NOTHING_HERE, ProgressConsumer


async def nothing_here(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Accept and close with 4404: a refused handshake would look like an outage to a browser."""
    await receive()
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.close", "code": NOTHING_HERE})


websocket_urlpatterns = [
    path("ws/progress/", ProgressConsumer.as_asgi()),
    path("ws/progress/<str:task_id>/", ProgressConsumer.as_asgi()),
    re_path(r"", nothing_here),  # type: ignore[arg-type]  # an ASGI application, as URLRouter wants
]
