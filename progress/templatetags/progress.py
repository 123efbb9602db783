"""The template tag: `{% load progress %}{% task_progress task_id %}`."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

from django import template
from django.template import Context
from django.urls import get_script_prefix

from progress.authorize import rights_of
from progress.exceptions import InvalidToken, ProgressError
from progress.permissions import viewer_of
from progress.revocations import revocations
from progress.snapshot import State, address
from progress.store import get_store
from progress.tokens import read_token
from progress.words import state_words

register = template.Library()


@register.inclusion_tag("progress/task_progress.html", takes_context=True)
def task_progress(
    context: Context,
    task_id: str,
    *,
    snapshot: Mapping[str, Any] | None = None,
    token: str = "",
    href: str = "",
    heading: int | None = None,
    compact: bool = False,
) -> dict[str, Any]:
    """A `<task-progress>` with the last known state inside, for readers without JavaScript.

    What the request's user, or the bearer of `token`, may not watch looks like what does not exist. A view
    that has read the `snapshot` already, and may show it, passes it along and saves the look-up. `href` makes
    the title a link, `heading` a heading of that level; `compact` takes two lines.
    """
    key = address(str(task_id))
    known = snapshot if snapshot is not None else _look_up(context, key, token)
    return {
        "key": key,
        "socket": f"{get_script_prefix()}ws/progress/",
        "token": token,
        "href": href,
        "heading": heading,
        "compact": compact,
        "known": known,
        "json": json.dumps(known, ensure_ascii=False, separators=(",", ":")) if known else "",
        "title": (known.get("title") or known.get("name")) if known else "",
        "value": _value(known) if known else "",
        "facts": _facts(known) if known else [],
        "outcome": _outcome(known) if known and not compact else "",
    }


def _look_up(context: Context, key: str, token: str) -> dict[str, Any] | None:
    try:
        record = get_store().load(key)
        if token:
            revocations().look()
    except ProgressError:
        return None  # the page is worth more than the bar; the element goes on looking
    try:
        tokens = [read_token(token)] if token else []
    except InvalidToken:
        tokens = []
    viewer = viewer_of(getattr(context.get("request"), "user", None))
    right = rights_of(key, record, viewer, tokens, "watch")
    return record.snapshot(staff=right.staff) if record and "watch" in right.actions else None


def _value(snapshot: Mapping[str, Any]) -> str:
    """For the attribute of `<progress>`, in no language; "" = unknown."""
    fraction = snapshot.get("fraction")
    if fraction is None:
        # Without a value the bar would move for ever, and nothing in this page can stop it.
        return "0" if snapshot["final"] or snapshot["state"] in (State.PENDING, State.LOST) else ""
    return f"{fraction:.4g}"


def _outcome(snapshot: Mapping[str, Any]) -> str:
    error, result = snapshot.get("error"), snapshot.get("result")
    if error:
        return str(error.get("message") or "The reason is not shown here.")
    if snapshot["state"] != State.SUCCESS or result is None or result == snapshot.get("message"):
        return ""
    return result if isinstance(result, str) else json.dumps(result, ensure_ascii=False)


def _facts(snapshot: Mapping[str, Any]) -> list[str]:
    current, total, unit = snapshot.get("current") or 0, snapshot.get("total"), snapshot.get("unit") or ""
    count = ""
    if total is not None:
        count = f"{current:,} of {total:,} {unit}"
    elif current:
        count = f"{current:,} {unit}"
    parts = snapshot.get("children") or {}
    of_parts = f"{parts['ended']:,} of {parts['known']:,} parts" if parts else ""
    found = (state_words(snapshot, time.time() * 1000), count.strip(), of_parts, snapshot.get("message") or "")
    return [part for part in found if part]
