"""A page that is told very much: how busy it is, how smooth it stays, and what is left when its bars are gone."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.acted import ActedTask
from tests.e2e.conftest import LineTo
from tests.processes import Site, wait_until

from .bars import BEHIND, bars, becomes, show
from .chatterbox import Chatterbox

# What a page may work for a task that tells it a thousand things a second, as a part of what a page does that has an
# empty handler for each of them. On a quiet machine that is 68 ms of each second; the bar, 10 ms, is a seventh of it.
SHARE = 1 / 5
LONG = 50  # ms of processor time; a longer task is felt


@pytest.fixture
def server() -> Iterator[Chatterbox]:
    with Chatterbox() as running:
        yield running


class Meter:
    """What Chromium itself counts of a page."""

    def __init__(self, page: Any) -> None:
        self._session = page.context.new_cdp_session(page)
        self._session.send("Performance.enable", {"timeDomain": "threadTicks"})

    def __call__(self, *names: str) -> list[float]:
        metrics = {each["name"]: each["value"] for each in self._session.send("Performance.getMetrics")["metrics"]}
        return [metrics[name] for name in names]

    def collect(self) -> None:
        """Let go of everything that nobody holds any more."""
        for _ in range(3):
            self._session.send("HeapProfiler.collectGarbage")

    def busy(self, page: Any, seconds: float) -> float:
        """The share of the next seconds that the main thread works, in processor time."""
        (before,) = self("TaskDuration")
        began = time.monotonic()
        page.wait_for_timeout(seconds * 1000)
        (after,) = self("TaskDuration")
        return (after - before) / (time.monotonic() - began)


class Tasks:
    """What the main threads of a browser did while the block ran, from Chromium's own trace.

    Its `longest` are tasks by their processor time in ms: on a machine with other work, the time by the clock would
    tell of that.
    """

    def __init__(self, page: Any) -> None:
        self._page, self._browser = page, page.context.browser
        self.longest: list[float] = []

    def __enter__(self) -> Tasks:
        self._browser.start_tracing(page=self._page, categories=["toplevel", "__metadata"])
        return self

    def __exit__(self, *_error: object) -> None:
        events = json.loads(self._browser.stop_tracing())["traceEvents"]
        threads = {
            (each["pid"], each["tid"]): each["args"]["name"] for each in events if each["name"] == "thread_name"
        }
        tasks = [
            each["tdur"] / 1000
            for each in events
            if each["name"] == "ThreadControllerImpl::RunTask"
            and "tdur" in each
            and threads[each["pid"], each["tid"]] == "CrRendererMain"
        ]
        assert len(tasks) > 100, "nothing was traced"
        self.longest = sorted(tasks, reverse=True)[:5]
        print(f"{len(tasks)} tasks, the longest {[round(each, 1) for each in self.longest]} ms")


def page_of(server: Chatterbox, open_page: Any, ids: Sequence[str], head: str = "", body: str = "") -> Any:
    """A page with a bar for each id, or with `body` that watches them, and that is connected."""
    server.pages["/"] = (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>Bars</title>{head}"
        f'<script type=module src="/static/progress/task-progress.js"></script><main>{body or bars(ids)}</main>'
    )
    page = open_page(server, None)
    becomes(page, state="live", transport="websocket")
    wait_until(lambda: server.ids() == sorted(ids), 10, "all bars are watched")
    return page


# --- Fifty bars ----------------------------------------------------------------------------------------------


def test_fifty_bars_share_one_websocket(site: Site, open_page: Any) -> None:
    """One connection for the page, and all of it is right."""
    login = site.user()
    tasks = [ActedTask(owner=str(login.pk)).queue().run(n + 1, 100) for n in range(50)]
    page = open_page(site, login, "/exports/")
    sockets: list[Any] = []
    page.on("websocket", lambda socket: sockets.append(socket))
    show(page, site, bars([task.id for task in tasks]))
    for n, bar in enumerate(page.locator("task-progress").all()):
        expect(bar).to_contain_text(f"{n + 1} of 100")
    for task in tasks:
        task.end()
    expect(page.locator("task-progress", has_text="done")).to_have_count(50)
    assert len(sockets) == 1


def test_fifty_bars_ask_together_where_nothing_but_asking_works(line_to: LineTo, site: Site, open_page: Any) -> None:
    """One request for all of them, and a browser's few connections stay free."""
    login = site.user()
    tasks = [ActedTask(owner=str(login.pk)).queue().run(n + 1, 100) for n in range(50)]
    line = line_to(site, gateway=True, events="refused")
    page = show(open_page(line, login, "/exports/"), line, bars([task.id for task in tasks]))
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if "/progress/?" in request.url else None)
    becomes(page, 30, state="live", transport="polling")
    for task in tasks:
        task.end()
    expect(page.locator("task-progress", has_text="done")).to_have_count(50, timeout=BEHIND * 1000)
    assert asked
    assert all(url.count("id=") == 50 for url in asked), asked


# --- A flood -------------------------------------------------------------------------------------------------


def test_a_thousand_messages_a_second_keep_a_page_busy_for_a_hundredth_of_it(
    server: Chatterbox, open_page: Any
) -> None:
    """Of a task that reports so often a page takes what it asked for, four states a second.

    Counted is the processor time of a page's main thread above that of the same page while nothing comes. The best of
    three windows counts: other programs share the processor's caches, and this is about the page. Of the page that it
    is held against it is the second: in the best one the machine may have stood still.
    """
    page = page_of(server, open_page, ["a-task"])
    frames, used = server.frames, busy(server, page, obey=True)[0]
    assert 20 <= server.frames - frames <= 35, "the page asked for four states a second"
    page.close()
    server.pages["/empty"] = f"<!doctype html><script>{EMPTY_HANDLER}</script>"
    raw = open_page(server, None, "/empty")
    wait_until(lambda: server.ids() == ["a-task"], 10, "it is watched")
    frames, floor = server.frames, busy(server, raw, obey=False)[1]
    assert server.frames - frames > 6500
    print(f"{used * 1000:.1f} ms of each second; an empty handler of all of them {floor * 1000:.1f}")
    assert used <= SHARE * floor


EMPTY_HANDLER = """
const socket = new WebSocket(location.origin.replace("http", "ws") + "/ws/progress/");
socket.onopen = () => socket.send(JSON.stringify({ type: "watch", ids: ["a-task"] }));
socket.onmessage = () => {};
"""


def busy(server: Chatterbox, page: Any, *, obey: bool) -> list[float]:
    """The share of a second that a page works for a thousand messages in it, three times, the least first."""
    meter = Meter(page)
    idle = min(meter.busy(page, 2) for _ in range(2))
    with server.talk(["a-task"], a_second=1000, seconds=7, obey=obey) as said:
        shares = [meter.busy(page, 2) for _ in range(3)]
        assert said.wait() == 7000
    return sorted(share - idle for share in shares)


def test_a_server_that_does_not_hold_back_makes_a_page_neither_late_nor_jerky(
    server: Chatterbox, open_page: Any
) -> None:
    """A thousand frames a second, each for itself: every one is taken, no task is felt, the newest is shown."""
    page = page_of(server, open_page, ["a-task"])
    with Tasks(page) as tasks, server.talk(["a-task"], a_second=1000, seconds=4, obey=False) as said:
        number = said.wait()
        expect(page.locator("task-progress")).to_contain_text(f"{number:,} of", timeout=1_000)
    assert server.frames > 4000
    assert tasks.longest[0] <= LONG


def test_five_hundred_rows_that_change_twice_a_second_stay_smooth(server: Chatterbox, open_page: Any) -> None:
    """A list of 500 tasks that all move, for 30 s: no task of the main thread takes 50 ms."""
    ids = [f"task-{n}" for n in range(500)]
    listed = f'<task-list limit=500 ids="{" ".join(ids)}"></task-list>'
    head = '<script type=module src="/static/progress/task-list.js"></script>'
    page = page_of(server, open_page, ids, head, listed)
    expect(page.locator("task-list task-progress")).to_have_count(500, timeout=20_000)
    with Tasks(page) as tasks, server.talk(ids, a_second=2, seconds=30, at_once=500, obey=False) as said:
        assert said.wait() == 30_000
        expect(page.locator("task-progress").first).to_contain_text("60 of", timeout=1_000)
    assert tasks.longest[0] <= LONG


# --- Swaps ---------------------------------------------------------------------------------------------------

SWAP = """async ([path, times]) => {
  for (let n = 0; n < times; n += 1) {
    for (const each of [path, "/none"]) await htmx.ajax("GET", each, { target: "#place", swap: "innerHTML" });
  }
}"""


def test_a_thousand_htmx_swaps_leave_nothing_behind(server: Chatterbox, open_page: Any) -> None:
    """Bars come and go, five hundred times each way: neither nodes nor listeners nor watches are left."""
    ids = [f"task-{n}" for n in range(5)]
    server.pages |= {"/bars": bars(ids), "/none": "<p>None.</p>"}
    head = '<script src="/modules/htmx.org/dist/htmx.js"></script>'
    page = page_of(server, open_page, ["kept"], head, f"{bars(['kept'])}<div id=place></div>")
    meter = Meter(page)

    def left() -> dict[str, float]:
        meter.collect()
        names = ("JSEventListeners", "Nodes")
        return dict(zip(names, meter(*names), strict=True))

    page.evaluate(SWAP, ["/bars", 20])  # what is made once is made
    before = left()
    page.evaluate(SWAP, ["/bars", 500])
    wait_until(lambda: server.ids() == ["kept"], 10, "all but one are unwatched")
    wait_until(lambda: left()["Nodes"] <= before["Nodes"] + 20, 10, f"as many nodes as before, {before}")
    assert left()["JSEventListeners"] <= before["JSEventListeners"] + 5
    page.evaluate("htmx.ajax('GET', '/bars', { target: '#place', swap: 'innerHTML' })")
    wait_until(lambda: server.ids() == sorted(["kept", *ids]), 10, "those that came last are watched")
    expect(page.locator("#place task-progress")).to_have_count(5)
    expect(page.locator("#place task-progress").first).to_contain_text("task-0")
    assert server.connections == 1
