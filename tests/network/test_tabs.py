"""Tabs as people have them: behind another, frozen, left and come back to, twice; and a clock that is wrong."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.processes import Login, Site, wait_until

from .bars import BEHIND, CONNECTION, Running, becomes, moves, read, shows
from .chromium import Chromium, Tabs


@pytest.fixture(scope="module")
def window(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A browser that hides, freezes and keeps pages as a person's does."""
    server = Chromium(tmp_path_factory.mktemp("chromium"))
    try:
        server.start()
        joined = browser.browser_type.connect_over_cdp(server.url, no_defaults=True)
        yield joined.contexts[0]
        joined.close()
    finally:
        server.kill()


@pytest.fixture
def tabs(window: Any) -> Iterator[Tabs]:
    opened = Tabs(window)
    yield opened
    opened.close()
    assert opened.complaints == []


@pytest.fixture
def login(site: Site, tabs: Tabs) -> Login:
    user = site.user()
    tabs.log_in(site.url, user)
    return user


@pytest.fixture
def job(site: Site, login: Login, tmp_path: Path) -> Iterator[Running]:
    """A job that runs until the test lets it end; at the latest, when the test is over."""
    running = Running(login, tmp_path).begun()
    yield running
    running.end()


class Frames:
    """What comes over the WebSockets of a tab, as Chromium counts it."""

    def __init__(self, page: Any) -> None:
        self.received = 0
        self.open: set[str] = set()  # WebSockets
        session = page.context.new_cdp_session(page)
        session.on("Network.webSocketCreated", lambda event: self.open.add(event["requestId"]))
        session.on("Network.webSocketClosed", lambda event: self.open.discard(event["requestId"]))
        session.on("Network.webSocketFrameReceived", lambda _event: self._count())
        session.send("Network.enable")

    def _count(self) -> None:
        self.received += 1


def hides(page: Any) -> None:
    """Wait until the tab knows that it is behind another."""
    wait_until(lambda: page.evaluate("document.visibilityState") == "hidden", 10, "the page is hidden")


def test_a_tab_that_was_frozen_is_right_when_it_is_seen(site: Site, tabs: Tabs, job: Running) -> None:
    """No script of it runs while the job ends; thawed and in front again, it shows the end."""
    page = tabs.open(site.url + job.page)
    becomes(page, state="live")
    front = tabs.open()
    hides(page)
    page.evaluate("window.beats = 0; setInterval(() => window.beats++, 100); 0")
    session = page.context.new_cdp_session(page)
    session.send("Page.setWebLifecycleState", {"state": "frozen"})
    before = page.evaluate("beats")
    job.end()
    front.wait_for_timeout(3_000)
    assert page.evaluate("beats") <= before + 1, "the tab was not frozen"
    session.send("Page.setWebLifecycleState", {"state": "active"})
    page.bring_to_front()
    shows(page, "done", BEHIND)


def test_a_hidden_tab_hears_nothing_and_is_right_at_once_when_it_is_seen(
    site: Site, tabs: Tabs, job: Running
) -> None:
    """Half a minute behind another tab it lets go of its connection; in front again, it has the newest of all."""
    page = tabs.open()
    frames = Frames(page)
    page.goto(site.url + job.page)
    moves(page)
    assert frames.received > 0
    assert len(frames.open) == 1
    front = tabs.open()
    hides(page)
    wait_until(lambda: page.evaluate(CONNECTION)["state"] == "connecting", 45, "the hidden page has let go")
    before = frames.received
    front.wait_for_timeout(5_000)  # the job reports all the time
    assert frames.received == before
    assert frames.open == set()
    job.end()
    page.bring_to_front()
    shows(page, "done", BEHIND)


def test_a_page_comes_back_from_the_back_forward_cache_and_is_right(site: Site, tabs: Tabs, job: Running) -> None:
    """Chromium keeps the page, although it had a WebSocket; back on it, what happened meanwhile is shown."""
    page = tabs.open(site.url + job.page)
    moves(page)
    page.evaluate("window.addEventListener('pageshow', (event) => { window.kept = event.persisted })")
    page.goto(site.url + "/exports/")
    job.end()
    page.evaluate("history.back()")  # Playwright's own waits for a "load" that does not come
    page.wait_for_url(f"**{job.page}", wait_until="commit")
    shows(page, "done", BEHIND)
    assert page.evaluate("window.kept") is True


def test_two_tabs_of_one_person_are_both_right(site: Site, tabs: Tabs, job: Running) -> None:
    """Each has a connection of its own, and the one behind shows the end when it is looked at, without a reload."""
    first, second = tabs.open(site.url + job.page), tabs.open(site.url + "/")
    listed = second.locator("task-progress").first
    expect(listed).to_contain_text("running")
    becomes(first, state="live")
    job.end()
    expect(listed).to_contain_text("done", timeout=BEHIND * 1000)
    first.bring_to_front()
    shows(first, "done", BEHIND)


# --- A wrong clock -------------------------------------------------------------------------------------------

# What `Date` says is so many ms off, from before the first script of the page.
WRONG = """((off) => {
  const Right = Date;
  window.Date = class extends Right {
    constructor(...given) {
      super(...(given.length ? given : [Right.now() + off]));
    }
    static now() {
      return Right.now() + off;
    }
  };
})(%d)"""
HOUR = 3_600_000  # ms


@pytest.mark.parametrize("off", [HOUR, -HOUR], ids=["ahead", "behind"])
def test_a_clock_that_is_wrong_by_an_hour_changes_no_duration(
    off: int, site: Site, open_page: Any, tmp_path: Path
) -> None:
    """Age, elapsed time and remaining time are what they are on a machine whose clock is right."""
    login = site.user()
    page = open_page(site, login)
    page.get_by_label("Seconds").fill("20")
    page.get_by_label("Steps").fill("200")
    page.get_by_role("button", name="Start a job").click()
    page.wait_for_url("**/runs/**")
    right = page
    wrong = open_page(site, login, "/exports/")
    wrong.add_init_script(WRONG % off)
    wrong.goto(right.url)
    assert abs(wrong.evaluate("Date.now()") - time.time() * 1000 - off) < 60_000
    for each in (right, wrong):
        shows(each, "left", 20)

    def as_many_in_both() -> list[list[float]]:
        found = [seconds_in(each) for each in (right, wrong)]
        return found if len(found[0]) == len(found[1]) >= 2 else []

    seconds = wait_until(as_many_in_both, 10, "as many durations in both")  # the one may have ended a moment sooner
    for here, there in zip(*seconds, strict=True):
        assert abs(here - there) <= 11, seconds  # remaining time is said in steps of 10 s
    assert max(seconds[1]) < 60


def seconds_in(page: Any) -> list[float]:
    """Every duration that the first bar says, in seconds."""
    sizes = {"s": 1, "min": 60, "h": 3600, "d": 86400}
    return [float(number) * sizes[unit] for number, unit in re.findall(r"([\d.]+) ?(s|min|h|d)\b", read(page))]
