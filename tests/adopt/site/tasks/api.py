import time
import uuid
from functools import partial

from django.db import transaction
from django.urls import get_script_prefix
from rest_framework.response import Response
from rest_framework.views import APIView

import progress

from .models import Task
from .tasks import export, notify


class Items(APIView):
    def get(self, request):
        return Response([{"id": task.pk, "title": task.title} for task in Task.objects.filter(owner=request.user)])

    def post(self, request):
        task = Task.objects.create(title=request.data["title"], owner=request.user)
        began = time.perf_counter()
        run = notify.delay(task.title)
        return Response({"id": task.pk, "run": run.id, "sent_in": time.perf_counter() - began}, status=201)


class Exports(APIView):
    """Starts an export when the request's transaction is through."""

    def post(self, request):
        task_id = request.data.get("id") or str(uuid.uuid4())
        options = {key: request.data[key] for key in ("rows", "pause") if key in request.data}
        arguments = {"name": request.data.get("of", "orders"), **options}
        transaction.on_commit(partial(export.apply_async, kwargs=arguments, task_id=task_id))
        return Response(
            {
                "id": task_id,
                "token": progress.watch_token(task_id, request.user),
                "socket": f"{get_script_prefix()}ws/progress/",
            },
            status=202,
        )
