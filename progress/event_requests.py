"""What is asked of us as Server-Sent Events, and the answer with which such a stream begins.

A view decides, as for any other request, and is done. `events.EventStreams`, around the whole application, goes on
with the answer then: so no thread, transaction or database connection of a request lasts as long as its stream.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from django.http import HttpRequest, HttpResponse, JsonResponse

from . import messages, snapshot
from .messages import BadMessage, Message
from .origins import Origin, judge

CONTENT_TYPE: Final = "text/event-stream"
PLACE: Final = "progress.events"  # in the scope: where the wish is left
NOT_HERE: Final = (
    "Events need ASGI and progress.asgi.with_progress() around the application. Ask for JSON again and again instead."
)
ELSEWHERE: Final = ("cross-site", "same-site")


@dataclass(slots=True)
class Wish:
    """What a view wants its answer to go on with; None = it is an answer like any other."""

    message: Message | None = None
    seen: int = 0  # a `seq`: nothing is sent that is not newer


def wants_events(request: HttpRequest) -> bool:
    """True if ``Accept`` names a stream of events and no JSON. ``*/*`` is JSON."""
    named = {each.partition(";")[0].strip().lower() for each in request.headers.get("Accept", "").split(",")}
    return CONTENT_TYPE in named and "application/json" not in named


def last_seen(request: HttpRequest) -> int:
    """The `seq` in ``Last-Event-ID``; 0 without one."""
    text = request.headers.get("Last-Event-ID", "").strip()
    return int(text) if re.fullmatch(r"[0-9]{1,20}", text) else 0


def is_from_elsewhere(request: HttpRequest) -> bool:
    """True if a page of another site has asked, as far as the browser tells. Programs are believed.

    Such a page could not read the stream, but with the cookie it would take the user's connections away.
    """
    origin = judge(getattr(request, "scope", {}).get("headers", ()))
    if origin is Origin.NONE:  # browsers name none when a page asks its own host
        return request.headers.get("Sec-Fetch-Site") in ELSEWHERE
    return origin is Origin.BAD


def foreign() -> HttpResponse:
    """The answer to a page of another site."""
    return JsonResponse({"error": "bad_origin"}, status=403)


def stream(
    request: HttpRequest, ids: Sequence[str], *, mine: bool = False, token: str | None = None, seen: int = 0
) -> HttpResponse:
    """The answer that goes on with the snapshots of `ids` and, with `mine`, of the session's user.

    400 for a wish that is no ``watch`` message, 501 where nothing can go on with it.
    """
    try:
        message = messages.parse(snapshot.encode(_watch(request, ids, mine, token)))
    except BadMessage as error:
        return JsonResponse({"error": "bad_message", "detail": str(error)}, status=400)
    wish = getattr(request, "scope", {}).get(PLACE)
    if wish is None:
        return JsonResponse({"error": "no_events", "detail": NOT_HERE}, status=501)
    if request.method != "HEAD":
        wish.message, wish.seen = message, seen
    return HttpResponse(
        content_type=CONTENT_TYPE,
        # A proxy that compresses or collects would hold the events back.
        headers={"Cache-Control": "private, no-store, no-transform", "X-Accel-Buffering": "no"},
    )


def _watch(request: HttpRequest, ids: Sequence[str], mine: bool, token: str | None) -> dict[str, Any]:
    every = request.GET.get("every_ms")
    is_number = every is not None and re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", every)
    return {
        "type": "watch",
        "ids": list(ids) or None,
        "mine": mine or None,
        "token": token,
        "every_ms": float(every) if every is not None and is_number else every,
    }
