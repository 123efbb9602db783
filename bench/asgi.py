"""The shipped site with the Channels tutorial's kind of consumer beside it, in one Daphne."""

from __future__ import annotations

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


tutorial = URLRouter([path("tutorial/<str:task_id>/", TutorialConsumer.as_asgi())])


async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """By the address: the tutorial's consumer, or the site."""
    app = tutorial if scope["type"] == "websocket" and scope["path"].startswith("/tutorial/") else site
    await app(scope, receive, send)
