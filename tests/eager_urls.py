"""Views that send a task, which runs there and then, and answer with its id and its account."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from asgiref.sync import sync_to_async
from django.http import HttpRequest, JsonResponse
from django.urls import path

from tests import jobs


def _sent(task: Any) -> JsonResponse:
    with tempfile.TemporaryDirectory() as folder:
        account = Path(folder, "account")
        task_id = str(task.delay(str(account), 200).id)
        return JsonResponse({"id": task_id, "account": int(account.read_text())})


def in_thread(request: HttpRequest) -> JsonResponse:
    return _sent(jobs.keeps_an_account)


def in_thread_with_loop(request: HttpRequest) -> JsonResponse:
    return _sent(jobs.runs_a_loop)


async def in_loop(request: HttpRequest) -> JsonResponse:
    return _sent(jobs.keeps_an_account)


async def in_loop_with_loop(request: HttpRequest) -> JsonResponse:
    """A loop inside a loop is refused by Python; from a thread of the view's it is none."""
    return await sync_to_async(_sent)(jobs.runs_a_loop)


urlpatterns = [path(view.__name__, view) for view in (in_thread, in_thread_with_loop, in_loop, in_loop_with_loop)]
