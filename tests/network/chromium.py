"""A Chromium as people have it: a tab behind another is hidden, timers there are late, pages left may come back.

Under Playwright's own, every page believes to be in front and none rests in the back/forward cache.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.conftest import CHROMIUM, CHROMIUM_ARGS
from tests.processes import Login, Server


class Chromium(Server):
    """Chromium in a process of its own, which Playwright may join."""

    def __init__(self, folder: Path) -> None:
        super().__init__("chromium", folder)
        self.profile = folder / "profile"
        self._told = self.profile / "DevToolsActivePort"

    def command(self) -> Sequence[str]:
        options = ("--headless", "--remote-debugging-port=0", f"--user-data-dir={self.profile}")
        return [str(CHROMIUM), *options, *CHROMIUM_ARGS, "about:blank"]

    def is_ready(self) -> bool:
        return self._told.exists() and len(self._told.read_text().split()) == 2

    @property
    def url(self) -> str:
        """Where it takes commands."""
        return f"http://127.0.0.1:{self._told.read_text().split()[0]}"


class Tabs:
    """The tabs of one window of that browser."""

    def __init__(self, context: Any) -> None:
        self.context = context
        self.complaints: list[str] = []

    def log_in(self, url: str, login: Login) -> None:
        self.context.clear_cookies()
        self.context.add_cookies([{"name": "sessionid", "value": login.session, "url": url}])

    def open(self, address: str = "about:blank") -> Any:
        """A new tab, in front."""
        page = self.context.new_page()
        page.set_default_timeout(15_000)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.goto(address)
        return page

    def close(self) -> None:
        """Close all tabs but one, which keeps the browser open."""
        for page in self.context.pages[1:]:
            page.close()
