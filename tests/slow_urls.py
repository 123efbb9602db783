"""The shipped site's pages, and four that take their time: in the event loop, in a thread, and all of the loop's."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

from django.http import HttpRequest, HttpResponse
from django.urls import path

from project.urls import urlpatterns as shipped


async def waits(request: HttpRequest) -> HttpResponse:
    """Answers after `seconds`, holding nothing."""
    print(f"{request.get_full_path()} has begun", flush=True)
    await asyncio.sleep(float(request.GET["seconds"]))
    return HttpResponse("waited")


async def holds(request: HttpRequest) -> HttpResponse:
    """Answers when the file `path` exists, holding nothing."""
    print(f"{request.get_full_path()} has begun", flush=True)
    while not Path(request.GET["path"]).exists():  # noqa: ASYNC110, ASYNC240 (a file gives no event)
        await asyncio.sleep(0.02)
    return HttpResponse("held")


def works(request: HttpRequest) -> HttpResponse:
    """Answers after `seconds`, in a thread that nobody can interrupt."""
    print(f"{request.get_full_path()} has begun", flush=True)
    threading.Event().wait(float(request.GET["seconds"]))
    return HttpResponse("worked")


async def spins(request: HttpRequest) -> HttpResponse:
    """Never lets anything else run in the event loop."""
    while True:
        pass


urlpatterns = [
    *shipped,
    path("waits", waits),
    path("holds", holds),
    path("works", works),
    path("spins", spins),
]
