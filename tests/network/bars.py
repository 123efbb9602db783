"""Bars in a page: jobs that run until a test lets them end, pages with any elements, and what is to be read there."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

from playwright.sync_api import expect

import progress
from tests import jobs
from tests.processes import Login, wait_until
from tests.watching import end_of, running, send

HEALS = 10  # seconds from when a line works again until a page that was cut off is right
BEHIND = 5  # seconds that a page without WebSockets may be behind
LOST = "connection lost"

# What the page's one connection is at the moment.
CONNECTION = """async () => {
  const { ProgressSocket } = await import("/static/progress/progress-socket.js");
  const url = document.querySelector("task-progress")?.getAttribute("socket") ?? "/ws/progress/";
  const { state, transport } = ProgressSocket.shared(url);
  return { state, transport };
}"""
# Everything that was ever to be read in a bar, looked at ten times a second.
NOTE = """() => {
  window.read = new Set();
  setInterval(() => {
    for (const bar of document.querySelectorAll("task-progress")) read.add(bar.shadowRoot?.textContent ?? "");
  }, 100);
}"""


class Behind(Protocol):
    """A site, or what stands in front of it."""

    @property
    def url(self) -> str: ...


class Running:
    """A job of a user's that reports many times a second until `end`."""

    def __init__(self, login: Login, folder: Path) -> None:
        self._file = folder / f"{uuid4().hex}.end"
        with progress.owner(login.pk):
            self.id = send(jobs.counts_until, str(self._file))
        self.page = f"/runs/{progress.key(self.id)}/"

    def begun(self) -> Running:
        """Wait until it runs."""
        running(self.id, 30)
        return self

    def end(self) -> None:
        """Let it end, and wait until that is recorded."""
        self._file.touch()
        end_of(self.id)


def show(page: Any, behind: Behind, elements: str) -> Any:
    """Put these elements on a page of the site, in the place of what was there, as scripts and swaps do."""
    page.goto(behind.url + "/exports/")
    page.evaluate("(elements) => { document.querySelector('main').innerHTML = elements }", elements)
    return page


def bars(ids: Sequence[str]) -> str:
    """The mark-up of one bar for each task."""
    return "".join(f'<task-progress task-id="{progress.key(each)}"></task-progress>' for each in ids)


def bar(page: Any, task_id: str) -> Any:
    return page.locator(f'task-progress[task-id="{progress.key(task_id)}"]')


def shows(page: Any, text: str | re.Pattern[str], seconds: float = 15) -> None:
    """Wait until the page's first bar says `text`."""
    expect(page.locator("task-progress").first).to_contain_text(text, timeout=seconds * 1000)


def connection(page: Any) -> dict[str, str]:
    """The state and the transport of the page's connection."""
    return page.evaluate(CONNECTION)


def becomes(page: Any, seconds: float = 15, **wanted: str) -> None:
    """Wait until the page's connection is as `wanted`: its state, its transport."""
    seen: dict[str, str] = {}

    def met() -> bool:
        seen.update(connection(page))
        return wanted.items() <= seen.items()

    try:
        wait_until(met, seconds, f"a connection with {wanted}")
    except AssertionError as error:
        raise AssertionError(f"{error} It is {seen}.") from None


def read(page: Any) -> str:
    """What is to be read in the first bar."""
    return page.locator("task-progress").first.evaluate(
        "bar => [...bar.shadowRoot.children].map((each) => each.innerText).join('\\n')"
    )


def count_of(page: Any) -> int:
    """The number of steps that the first bar shows; 0 where it shows none."""
    found = re.search(r"([\d,]+) of [\d,]+ steps", read(page))
    return int(found[1].replace(",", "")) if found else 0


def moves(page: Any, seconds: float = 15) -> None:
    """Wait until the first bar has moved on."""
    wait_until(lambda: count_of(page) > 0, seconds, "a count")  # perhaps the one that the page was made with
    before = count_of(page)
    wait_until(lambda: count_of(page) > before, seconds, f"a count above {before}")
