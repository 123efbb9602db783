"""The page of examples: every element in every state, with its mark-up beside it. Nothing runs for it.

It needs no Redis, no worker and no login. What it shows was recorded once from real tasks, by
``python -m tests.e2e.record_demo``, and is replayed in the page by ``demo/replay.js``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.template import Context, Template
from django.urls import reverse
from django.utils import translation
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_GET

from .style_guide_examples import SECTIONS, Example

RECORDED: Final = Path(__file__).parent / "static/tasks/demo/recorded.json"
# What the reader may choose, as links, so that each look has an address.
THEMES: Final = ("system", "light", "dark")
DIRECTIONS: Final = ("ltr", "rtl")
WIDTHS: Final = ("wide", "phone")
PLAIN: Final = {"waiting": _("Waiting"), "done": _("Done"), "failed": _("Failed")}
LOOKS: Final[dict[str, Any]] = {
    "theme": _("Colours"),
    "dir": _("Direction"),
    "width": _("Width"),
    "language": _("Language"),
    "system": _("system"),
    "light": _("light"),
    "dark": _("dark"),
    "ltr": _("ltr"),
    "rtl": _("rtl"),
    "wide": _("wide"),
    "phone": _("phone"),
}
TAG: Final = "{% load progress %}{% task_progress key snapshot=known %}"
WRAPPING: Final = re.compile(r"</?(?:task-progress|noscript)[^>]*>")


@dataclass(frozen=True)
class Shown:
    """An example as the page has it: the living element, and the mark-up that a site would write."""

    example: Example
    live: SafeString
    markup: str


@dataclass(frozen=True)
class Choice:
    """One of several looks, with the address of the page in it."""

    name: str
    label: Any
    query: str
    chosen: bool


@dataclass(frozen=True)
class Choices:
    """Looks to choose among."""

    name: str
    label: Any
    choices: list[Choice] = field(default_factory=list)


@require_GET
def style_guide(request: HttpRequest) -> HttpResponse:
    """The page, in the look and the language that its address names. Open to everybody."""
    languages = dict(settings.LANGUAGES)
    looks = {"theme": THEMES, "dir": DIRECTIONS, "width": WIDTHS, "language": tuple(languages)}
    chosen = {name: _one_of(request.GET.get(name), options) for name, options in looks.items()}
    if request.GET.get("language") not in languages:
        chosen["language"] = translation.get_language() or settings.LANGUAGE_CODE
    sections = [(section, [_shown(each) for each in section.examples]) for section in SECTIONS]
    choices = [
        Choices(name, LOOKS[name], _choices(name, options, chosen, languages)) for name, options in looks.items()
    ]
    with translation.override(chosen["language"]):
        context = {"sections": sections, "choices": choices, "chosen": chosen, "plain": _plain()}
        return render(request, "style_guide.html", context)


def _one_of(value: str | None, options: tuple[str, ...]) -> str:
    return value if value in options else options[0]


def _choices(
    name: str, options: tuple[str, ...], chosen: Mapping[str, str], languages: Mapping[str, Any]
) -> list[Choice]:
    found = []
    for option in options:
        query = "&".join(f"{each}={option if each == name else value}" for each, value in chosen.items())
        label = str(languages.get(option, option)) if name == "language" else LOOKS[option]
        found.append(Choice(option, label, query, option == chosen[name]))
    return found


def _shown(example: Example) -> Shown:
    attributes = dict(example.attributes)
    markup = _element(example.tag, attributes, example.inside, shown=True)
    live = {**attributes, "socket": f"{reverse('demo')}{example.socket}/", "http": reverse("demo")}
    if "snapshot" in live:
        live["snapshot"] = json.dumps(recorded()[attributes["snapshot"]], ensure_ascii=False)
    return Shown(example, _element(example.tag, live, example.inside), markup)


def _element(tag: str, attributes: Mapping[str, str], inside: str, *, shown: bool = False) -> SafeString:
    if shown and "snapshot" in attributes:
        attributes = {**attributes, "snapshot": "{…}"}
    pairs = format_html_join("", '\n  {}="{}"' if shown and len(attributes) > 3 else ' {}="{}"', attributes.items())
    if shown:
        pairs = SafeString(pairs.replace('=""', ""))  # nosec B308 B703 # our own texts
    return format_html("<{}{}>{}</{}>", tag, pairs, SafeString(inside), tag)  # nosec B308 B703 # our own texts


def _plain() -> list[dict[str, Any]]:
    """What stands in the element where no script runs: what the template tag writes, without the element itself."""
    found = []
    for name, title in PLAIN.items():
        html = Template(TAG).render(Context({"key": name, "known": recorded()[name]}))
        inside = mark_safe(WRAPPING.sub("", html))  # noqa: S308 # nosec B308 B703 # escaped by the tag
        found.append({"title": title, "inside": inside})
    return found


@cache
def recorded() -> dict[str, Any]:
    """Snapshots by the names of the examples."""
    found: dict[str, Any] = json.loads(RECORDED.read_text())["snapshots"]
    return found
