"""A page of the real site in a real Chromium, logged in, that must not say anything on its console."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.processes import Login, Site
from tests.proxy import Line

PHONE = {"width": 360, "height": 740}
WIDE = {"width": 1280, "height": 900}

OpenPage = Callable[..., Any]
LineTo = Callable[..., Line]


@pytest.fixture
def open_page(browser: Any) -> Iterator[OpenPage]:
    """Opens a page of `site` in a browser of its own: ``open_page(site, login, "/", viewport=PHONE, …)``."""
    contexts = []
    complaints: list[str] = []

    def open_(site: Site, login: Login | None, path: str = "/", **options: Any) -> Any:
        context = browser.new_context(**{"viewport": WIDE, **options})
        contexts.append(context)
        context.set_default_timeout(15_000)
        if login:
            context.add_cookies([{"name": "sessionid", "value": login.session, "url": site.url}])
        page = context.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(site.url + path)
        return page

    yield open_
    for context in contexts:
        context.close()
    assert complaints == []


@pytest.fixture
def line_to() -> Iterator[LineTo]:
    """Bad lines: ``line_to(site, delay=0.15)``. Asked for before `open_page`, they outlive the pages."""
    with ExitStack() as lines:
        yield lambda behind, **options: lines.enter_context(Line(behind, **options))
