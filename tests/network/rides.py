"""A train ride: a slow line that is cut again and again, and a job that ends in every tunnel."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from playwright.sync_api import expect

from tests.processes import Login
from tests.proxy import Line

from .bars import HEALS, NOTE, Running, bar, bars, show

ROUND_TRIP = 0.3  # seconds
HOURLY = 5_000_000  # bytes for each bar; 5 MB
UNTRUE = ("failed", "sign of life")  # what must not be said of a job because the reader is in a tunnel


# Puts the bar of one more job on the page.
ADD = "(bar) => document.querySelector('main').insertAdjacentHTML('beforeend', bar)"


class Ride:
    """One page and one job at a time, which ends in a tunnel. The first resets connections, the second freezes, …"""

    def __init__(self, login: Login, folder: Path, *, tunnels: int) -> None:
        self.login, self.folder, self.tunnels = login, folder, tunnels
        self.late: list[float] = []  # seconds from the end of each tunnel to the end of its job on the page
        self.bytes = 0
        self.seconds = 0.0
        self.read: list[str] = []

    def go(self, line: Line, open_page: Any, *, light: float, dark: float) -> None:
        """`light` seconds with a line before every tunnel of `dark` seconds."""
        page = show(open_page(line, self.login, "/exports/"), line, "")
        page.evaluate(NOTE)
        self._show_one_first(page)
        before, began = line.up + line.down, time.monotonic()
        for number in range(self.tunnels):
            job = Running(self.login, self.folder).begun()
            page.evaluate(ADD, bars([job.id]))
            page.wait_for_timeout(light * 1000)
            self._pass_tunnel(line, page, job, dark, freezes=bool(number % 2))
        self.bytes, self.seconds = line.up + line.down - before, time.monotonic() - began
        self.read = page.evaluate("[...read]")

    def _show_one_first(self, page: Any) -> None:
        """What a page loads once, for its first bar, is not what it costs by the hour."""
        job = Running(self.login, self.folder).begun()
        page.evaluate(ADD, bars([job.id]))
        job.end()
        expect(bar(page, job.id)).to_contain_text("done")

    def _pass_tunnel(self, line: Line, page: Any, job: Running, dark: float, *, freezes: bool) -> None:
        entered = time.monotonic()
        (line.freeze if freezes else line.cut)()
        job.end()
        page.wait_for_timeout((dark - (time.monotonic() - entered)) * 1000)
        (line.thaw if freezes else line.restore)()
        left = time.monotonic()
        expect(bar(page, job.id)).to_contain_text("done", timeout=(HEALS + dark) * 1000)
        self.late.append(time.monotonic() - left)

    def judge(self) -> None:
        """Nothing was late, and nothing untrue was to be read."""
        print(f"late by {[round(each, 1) for each in self.late]} s")
        assert max(self.late) <= HEALS
        assert any("running" in text for text in self.read), "nothing was read, so nothing was shown"
        assert [text for text in self.read for lie in UNTRUE if lie in text] == []

    def judge_cost(self) -> None:
        """What a bar costs by the hour; after minutes only, because what is loaded once is in it."""
        hourly = self.bytes / self.seconds * 3600
        print(f"{hourly / 1e6:.2f} MB per hour and bar")
        assert hourly <= HOURLY
