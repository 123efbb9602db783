"""The same snapshots over HTTP: for scripts, for pages without sockets, for load balancers."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.utils.cache import patch_vary_headers
from django.utils.http import parse_etags
from django.views.decorators.csrf import csrf_exempt, csrf_protect
from django.views.decorators.http import require_POST, require_safe

from . import control, snapshot
from .authorize import rights_of
from .conf import conf
from .draining import drain
from .exceptions import InvalidToken, ProgressError, StoreUnavailable
from .permissions import Viewer, viewer_of
from .revocations import revocations
from .store import get_store
from .subscription import hearing
from .tokens import WatchToken, read_token

View = Callable[..., HttpResponse]
NOT_FOUND = {"error": "not_found"}


def _answers_json(view: View) -> View:
    """Private, never stored; and what cannot be seen and what does not exist are one answer."""

    @wraps(view)
    def answer(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        try:
            response = view(request, *args, **kwargs)
        except Http404:
            response = JsonResponse(NOT_FOUND, status=404)
        except StoreUnavailable:
            response = JsonResponse({"error": "unavailable"}, status=503, headers={"Retry-After": "5"})
        response["Cache-Control"] = "private, no-store"
        patch_vary_headers(response, ["Cookie", "Authorization"])
        return response

    return answer


@require_safe
@_answers_json
def one(request: HttpRequest, task_id: str) -> HttpResponse:
    """The snapshot of one task."""
    viewer, tokens = _who(request)
    key = snapshot.address(task_id)
    record = get_store().load(key)
    right = rights_of(key, record, viewer, tokens, "watch")
    if record is None or "watch" not in right.actions:
        raise Http404
    tag = f'"{record.seq}-{"staff" if right.staff else "public"}"'
    etag = "W/" + tag
    known = {each.removeprefix("W/") for each in parse_etags(request.headers.get("If-None-Match", ""))}
    if {tag, "*"} & known:
        return HttpResponse(status=304, headers={"ETag": etag})
    text = record.text(staff=right.staff)
    return HttpResponse(text, content_type="application/json", headers={"ETag": etag})


@require_safe
@_answers_json
def several(request: HttpRequest) -> HttpResponse:
    """Snapshots of the tasks that ``?id=`` names, or of one's own (``?mine=1``); what may not be seen is left out."""
    viewer, tokens = _who(request)
    if request.GET.get("mine") in ("1", "true"):
        keys = get_store().mine(viewer.user) if viewer.user else []
    else:
        keys = [snapshot.address(name) for name in request.GET.getlist("id") if name]
    keys = keys[: conf.PROGRESS_MAX_WATCHES]
    items = []
    for key, record in zip(keys, get_store().load_many(keys), strict=True):
        right = rights_of(key, record, viewer, tokens, "watch")
        if record is not None and "watch" in right.actions:
            items.append(record.text(staff=right.staff))
    at = snapshot.iso(get_store().now())
    return HttpResponse(f'{{"at":"{at}","items":[{",".join(items)}]}}', content_type="application/json")


@csrf_exempt  # decided below: a bearer token is no cookie and needs no protection from other sites
def cancel(request: HttpRequest, task_id: str) -> HttpResponse:
    """Ask the task to stop: 202 says that the wish was recorded, or that its worker was told to end it."""
    return _cancel(request, task_id) if _bearer(request) else _protected_cancel(request, task_id)


@require_POST
@_answers_json
def _cancel(request: HttpRequest, task_id: str) -> HttpResponse:
    viewer, tokens = _who(request)
    key = snapshot.address(task_id)
    record = get_store().load(key)
    terminate = "1" in (request.GET.get("terminate"), request.POST.get("terminate"))
    asked = ("watch", "cancel", *(["terminate"] if terminate else []))
    may = rights_of(key, record, viewer, tokens, *asked).actions
    decision = control.decide(record, may, terminate=terminate)
    done = control.carry_out(decision, task_id, record, viewer.user)
    if done.action:
        return JsonResponse({"id": key, "action": done.action}, status=202)
    if done is control.NOT_FOUND:
        raise Http404
    detail = {"detail": done.detail} if done.detail else {}
    if done is control.SILENT:
        return JsonResponse({"error": "unavailable", **detail}, status=503, headers={"Retry-After": "5"})
    return JsonResponse({"error": done.code, **detail}, status=409 if done is control.ENDED else 403)


_protected_cancel = csrf_protect(_cancel)


@require_safe
def healthz(request: HttpRequest) -> HttpResponse:
    """This process answers and, if it has a hub, hears. Redis being away is no fault of it and does not count.

    A process whose event loop is dead cannot answer: give the check a time-out.
    """
    heard = hearing()
    lines = ["deaf: Redis answers, but nothing is heard from it" if heard.deaf else "ok"]
    if heard.age is not None:
        lines.append(f"canary_age_seconds {heard.age:.1f}")
    return HttpResponse("\n".join(lines) + "\n", status=503 if heard.deaf else 200, content_type="text/plain")


@require_safe
def readyz(request: HttpRequest) -> HttpResponse:
    """This process answers, reaches the store, and is not about to leave."""
    if drain.begun:
        return HttpResponse("leaving\n", status=503, content_type="text/plain")
    try:
        get_store().load("readyz")
    except ProgressError:
        return HttpResponse("the store does not answer\n", status=503, content_type="text/plain")
    return HttpResponse("ok\n", content_type="text/plain")


def _bearer(request: HttpRequest) -> str | None:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" and token.strip() else None


def _who(request: HttpRequest) -> tuple[Viewer, list[WatchToken]]:
    """Session, or bearer token; with a token the cookie is ignored."""
    if text := _bearer(request):
        try:
            revocations().look()
            return Viewer(), [read_token(text)]
        except InvalidToken:
            return Viewer(), []
    return viewer_of(getattr(request, "user", None)), []
