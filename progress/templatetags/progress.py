"""The template tags: `{% load progress %}{% progress_scripts %}` in the head, `{% task_progress task_id %}` below."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

from django import template
from django.template import Context, TemplateSyntaxError
from django.templatetags.static import static
from django.urls import NoReverseMatch, get_script_prefix, reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import get_language, gettext

from progress.authorize import rights_of
from progress.catalogue import has_words
from progress.exceptions import InvalidToken, ProgressError
from progress.permissions import viewer_of
from progress.revocations import revocations
from progress.snapshot import State, address
from progress.store import get_store
from progress.tokens import read_token
from progress.words import count_words, message_words, parts_words, state_words

register = template.Library()
ELEMENTS: Final = ("list", "log")  # beside the bar


@register.simple_tag
def progress_scripts(*also: str) -> SafeString:
    """The scripts of a page with bars, and with `"list"` and `"log"` if it asks for them; for its head.

    In another language than English the words of that language come first. They need the addresses of
    `progress.urls`; on a site without those the elements speak English.
    """
    if wrong := [name for name in also if name not in ELEMENTS]:
        raise TemplateSyntaxError(
            f"progress_scripts: expected 'list' or 'log', got {wrong[0]!r}. The bar is always there."
        )
    modules = [static(f"progress/task-{name}.js") for name in ("progress", *dict.fromkeys(also))]
    return _words() + format_html_join(
        "\n", '<script type="module" src="{}"></script>', ((each,) for each in modules)
    )


def _words() -> SafeString:
    """The catalogue of the page's language, in an address that may be kept. It runs before the modules do."""
    language = get_language() or "en"
    try:
        address_of_words = reverse("progress:words")
    except NoReverseMatch:
        return SafeString("")
    if not has_words(language):
        return SafeString("")
    return format_html('<script defer src="{}?language={}"></script>\n', address_of_words, language)


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
    http: str | None = None,
    notify: str = "",
    success_url: str = "",
    csrf: str = "",
    confirm: bool = True,
) -> dict[str, Any]:
    """A `<task-progress>` with the last known state inside, for readers without JavaScript.

    What the request's user, or the bearer of `token`, may not watch looks like what does not exist. A view
    that has read the `snapshot` already, and may show it, passes it along and saves the look-up, but for the right to
    cancel what still runs, which readers without JavaScript do by a form. `href` makes
    the title a link, `heading` a heading of that level; `compact` takes two lines. `notify` is any of "title",
    "badge" and "desktop", with spaces between; `success_url` is where the page goes when the task succeeds.
    `http` is the address of `progress.urls`, found by itself where they have one; `csrf` a CSRF token for
    pages that hide it from scripts; `confirm=False` cancels without a question.
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
        "http": _http() if http is None else http,
        "notify": notify,
        "success_url": success_url,
        "csrf": csrf,
        "confirm": confirm,
        "known": known,
        "json": json.dumps(known, ensure_ascii=False, separators=(",", ":")) if known else "",
        "title": (known.get("title") or known.get("name")) if known else "",
        "value": _value(known) if known else "",
        "facts": _facts(known) if known else [],
        "outcome": _outcome(known) if known and not compact else "",
        "cancel": _cancel(context, key, known) if known and not compact else "",
    }


@register.inclusion_tag("progress/task_list.html", takes_context=True)
def task_list(
    context: Context,
    *,
    href: str = "",
    label: str = "",
    empty: str = "",
    limit: int = 100,
) -> dict[str, Any]:
    """A `<task-list>` of the user's unfinished tasks, the newest first, with a row for each that there is now.

    Without JavaScript it stays as it is; with it, tasks that start later appear by themselves. `href` is the address
    of a run's page with `{id}` in it, as `{% url "run" "{id}" %}` makes it; `empty` is the text where there is none.
    Whoever is not logged in has none. While the store is away, no row is rendered.
    """
    rows = [{"key": key, "known": known, "href": _place(href, key)} for key, known in _own_unfinished(context, limit)]
    return {
        "socket": f"{get_script_prefix()}ws/progress/",
        "href": href,
        "label": label or gettext("My jobs"),
        "empty": empty or gettext("None."),
        "limit": limit,
        "rows": rows,
        "request": context.get("request"),
    }


@register.inclusion_tag("progress/task_log.html")
def task_log(task_id: str, *, token: str = "", level: str = "", label: str = "") -> dict[str, Any]:
    """A `<task-log>`: the log lines of a task as they come, from `level` upwards. It says that it needs scripts."""
    return {
        "key": address(str(task_id)),
        "socket": f"{get_script_prefix()}ws/progress/",
        "token": token,
        "level": level,
        "label": label or gettext("Log"),
    }


def _own_unfinished(context: Context, limit: int) -> list[tuple[str, dict[str, Any]]]:
    """Key and snapshot of what the request's user has under way."""
    viewer = viewer_of(getattr(context.get("request"), "user", None))
    if not viewer.user:
        return []
    try:
        keys = get_store().mine(viewer.user, limit)
        records = get_store().load_many(keys)
    except ProgressError:
        return []
    found = []
    for key, record in zip(keys, records, strict=True):
        right = rights_of(key, record, viewer, (), "watch")
        if record and not record.ended and "watch" in right.actions:
            found.append((key, record.snapshot(staff=right.staff)))
    return found


def _place(href: str, key: str) -> str:
    return href.replace("{id}", quote(key, safe="")).replace("%7Bid%7D", quote(key, safe=""))


def _http() -> str:
    """Where `progress.urls` are; "" where the element expects them, or where there are none."""
    try:
        there = reverse("progress:several")
    except NoReverseMatch:
        return ""
    return "" if there == f"{get_script_prefix()}progress/" else there


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


def _cancel(context: Context, key: str, known: Mapping[str, Any]) -> str:
    """Where a form asks to cancel, for the request's user who may; "" where there is nothing to ask."""
    past = known["final"] or known.get("cancel_requested") or known.get("cancellable") is False
    viewer = viewer_of(getattr(context.get("request"), "user", None))
    if past or not viewer.user or "csrf_token" not in context:
        return ""
    try:
        right = rights_of(key, get_store().load(key), viewer, (), "watch", "cancel")
        return reverse("progress:cancel", args=[key]) if {"watch", "cancel"} <= set(right.actions) else ""
    except (ProgressError, NoReverseMatch):
        return ""


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
        return str(error.get("message") or gettext("The reason is not shown here."))
    if snapshot["state"] != State.SUCCESS or result is None or result == snapshot.get("message"):
        return ""
    return result if isinstance(result, str) else json.dumps(result, ensure_ascii=False)


def _facts(snapshot: Mapping[str, Any]) -> list[str]:
    state = state_words(snapshot, time.time() * 1000)
    found = (state, count_words(snapshot), parts_words(snapshot), message_words(snapshot))
    return [part for part in found if part]
