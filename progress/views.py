"""The same snapshots over HTTP: for scripts, for pages without sockets, for load balancers."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import wraps
from typing import Any
from urllib.parse import urlsplit

from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.utils import translation
from django.utils.cache import patch_vary_headers
from django.utils.http import parse_etags
from django.utils.translation import gettext
from django.views.decorators.csrf import csrf_exempt, csrf_protect
from django.views.decorators.http import require_POST, require_safe

from . import control, event_requests, snapshot
from .access import SHOWN, item_of
from .authorize import rights_of
from .conf import conf
from .draining import drain
from .exceptions import InvalidToken, ProgressError, StoreUnavailable
from .permissions import Rights, Viewer, viewer_of
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
        response.setdefault("Cache-Control", "private, no-store")
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
    tag = f"{record.seq}-{_view(right)}"
    return _unless_known(request, tag, lambda: record.text(staff=right.staff))


@require_safe
@_answers_json
def events(request: HttpRequest, task_id: str) -> HttpResponse:
    """The snapshots of one task as they come, until it has ended.

    204 if it has, and that is what the client saw last: an `EventSource` then comes back no more.
    """
    if not _bearer(request) and event_requests.is_from_elsewhere(request):
        return event_requests.foreign()
    viewer, tokens = _who(request)
    key = snapshot.address(task_id)
    record = get_store().load(key)
    right = rights_of(key, record, viewer, tokens, "watch")
    if record is None or "watch" not in right.actions:
        raise Http404
    seen = event_requests.last_seen(request)
    if record.ended and record.seq <= seen:
        return HttpResponse(status=204)
    return event_requests.stream(request, [task_id], token=_bearer(request), seen=seen)


@require_safe
@_answers_json
def several(request: HttpRequest) -> HttpResponse:
    """The tasks that ``?id=`` names and, with ``?mine=1``, one's own; what may not be seen is left out.

    As JSON, or as a stream of events for who accepts nothing else.
    """
    names = list(filter(None, request.GET.getlist("id")))
    mine = request.GET.get("mine") in ("1", "true")
    if not event_requests.wants_events(request):
        response = _listed(request, names, mine=mine)
    elif not _bearer(request) and event_requests.is_from_elsewhere(request):
        response = event_requests.foreign()
    else:
        response = event_requests.stream(request, names, mine=mine, token=_bearer(request))
    patch_vary_headers(response, ["Accept"])
    return response


def _listed(request: HttpRequest, names: list[str], *, mine: bool) -> HttpResponse:
    viewer, tokens = _who(request)
    called = {snapshot.address(name): name for name in names}
    if mine and viewer.user:
        called |= {key: key for key in get_store().mine(viewer.user) if key not in called}
    keys = list(called)[: conf.PROGRESS_MAX_WATCHES]
    items, watching, seen = [], [], []
    for key, record in zip(keys, get_store().load_many(keys), strict=True):
        right = rights_of(key, record, viewer, tokens, *SHOWN)
        if record is not None and "watch" in right.actions:
            items.append(record.text(staff=right.staff))
            watching.append(item_of(right, called[key]))
            seen.append((key, record.seq, _view(right)))

    def text() -> str:
        at = snapshot.iso(get_store().now())
        return f'{{"at":"{at}","items":[{",".join(items)}],"watching":{snapshot.encode(watching)}}}'

    # Not of `at`: whoever asks again and again is told only what is new.
    tag = hashlib.sha256(snapshot.encode([seen, watching]).encode()).hexdigest()[:32]
    return _unless_known(request, tag, text)


def _view(right: Rights) -> str:
    return "staff" if right.staff else "public"


def _unless_known(request: HttpRequest, tag: str, text: Callable[[], str]) -> HttpResponse:
    """JSON text, or 304 if the client has what `tag` stands for."""
    headers = {"ETag": f'W/"{tag}"'}
    known = {each.removeprefix("W/") for each in parse_etags(request.headers.get("If-None-Match", ""))}
    if {f'"{tag}"', "*"} & known:
        return HttpResponse(status=304, headers=headers)
    return HttpResponse(text(), content_type="application/json", headers=headers)


@csrf_exempt  # decided below: a bearer token is no cookie and needs no protection from other sites
def cancel(request: HttpRequest, task_id: str) -> HttpResponse:
    """Ask the task to stop: 202 says that the wish was recorded, or that its worker was told to end it.

    A form of a page, which prefers HTML, is answered with the page that it was on (303).
    """
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
    if request.get_preferred_type(["application/json", "text/html"]) == "text/html":
        return _for_people(request, done)  # a browser's form
    if done.action:
        return JsonResponse({"id": key, "action": done.action}, status=202)
    if done is control.NOT_FOUND:
        raise Http404
    detail = {"detail": done.detail} if done.detail else {}
    if done is control.SILENT:
        return JsonResponse({"error": "unavailable", **detail}, status=503, headers={"Retry-After": "5"})
    return JsonResponse({"error": done.code, **detail}, status=409 if done is control.ENDED else 403)


def _for_people(request: HttpRequest, done: control.Decision) -> HttpResponse:
    """The answer to a form: back to the page that it was on, which says what became of it, or a line of text."""
    varies = {"Vary": "Accept"}
    place = urlsplit(request.headers.get("Referer", ""))
    ours = place.netloc == request.get_host() and place.path.startswith("/") and not place.path.startswith("//")
    if ours and (done.action or done is control.ENDED):
        query = f"?{place.query}" if place.query else ""
        return HttpResponseRedirect(f"{place.path}{query}", status=303, headers=varies)
    status, text = 403, gettext("You may not cancel it.")
    if done.action:
        status, text = 202, gettext("Asked to cancel.")
    elif done is control.ENDED:
        status, text = 409, gettext("It has already ended.")
    elif done is control.NOT_FOUND:
        status, text = 404, gettext("There is no such task, or it is not yours.")
    elif done.detail:
        status, text = 503 if done is control.SILENT else 403, translation.gettext(done.detail)
    return HttpResponse(f"{text}\n", status=status, headers=varies, content_type="text/plain; charset=utf-8")


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
