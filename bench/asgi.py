"""The shipped site with others' consumers beside it in one process: the Channels tutorial's, celery-progress's."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Any

from channels.generic.websocket import AsyncWebsocketConsumer
from channels.routing import URLRouter
from django.urls import path

from project.asgi import application as site

from progress import group_name  # isort: skip  (the apps are loaded by the line above)


class TutorialConsumer(AsyncWebsocketConsumer):
    """One channel and one `group_add` per browser."""

    async def connect(self) -> None:
        """Join the task's group."""
        self.group = group_name(self.scope["url_route"]["kwargs"]["task_id"])
        await self.channel_layer.group_add(self.group, self.channel_name)
        await self.accept()

    async def disconnect(self, code: int) -> None:
        """Leave it."""
        await self.channel_layer.group_discard(self.group, self.channel_name)

    async def progress_update(self, event: dict[str, Any]) -> None:
        """Pass the snapshot on. It is JSON already; encoding it again, as many do, would cost more."""
        await self.send(text_data=event["snapshot"])


routes = [path("tutorial/<str:task_id>/", TutorialConsumer.as_asgi())]
with suppress(ImportError):
    from celery_progress.websockets.consumers import ProgressConsumer

    routes.append(path("celery-progress/<str:task_id>/", ProgressConsumer.as_asgi()))
others = URLRouter(routes)

if os.environ.get("BENCH_AUTHORIZE"):  # with a function of its own, whose calls are counted
    from django.conf import settings

    from bench.counting import authorize

    settings.PROGRESS_AUTHORIZE = authorize  # it is read when it is used


async def bare(_scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Accepts, and does nothing else until the client goes: what a connection costs at least."""
    await receive()
    await send({"type": "websocket.accept"})
    while (await receive())["type"] != "websocket.disconnect":
        pass


async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """By the address: nobody's, somebody else's consumer, or the site."""
    name = scope["path"].split("/")[1] if scope["type"] == "websocket" else ""
    app = {"bare": bare, "tutorial": others, "celery-progress": others}.get(name, site)
    await app(scope, receive, send)
