"""A web process that runs tasks itself: every request runs one, eagerly, and is answered with its id."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import uuid4

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")

import django

django.setup()

from asgiref.sync import sync_to_async  # noqa: E402

from tests import jobs  # noqa: E402


async def application(
    scope: dict[str, Any], receive: Callable[[], Awaitable[Any]], send: Callable[[dict[str, Any]], Awaitable[None]]
) -> None:
    """``/loop`` runs the task in the event loop itself, any other path in a thread."""
    task_id = uuid4().hex

    def run() -> None:
        jobs.count.apply((3, 0.001), task_id=task_id)

    if scope["path"] == "/loop":
        run()
    else:
        await sync_to_async(run)()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": task_id.encode()})
