"""A job with an event loop of its own, on a real worker: progress, a break and a cancel from inside the loop."""

from __future__ import annotations

import asyncio

from progress.control import cancel
from tests.processes import Site
from tests.visitor import Visitor
from tests.watching import end_of, when
from tests.wire import wire


async def test_the_loop_reports_while_it_runs(site: Site) -> None:
    """Whoever watches sees values between the first entry and the last, in order, and an exact end."""
    login = site.user()
    task_id = await asyncio.to_thread(Visitor(site, login).start, "feed", entries=200, at_once=5, breaks_after=0)
    async with wire(site.ws, cookie=login.cookie) as page:
        await page.watch(task_id)
        await page.ends(task_id, seconds=30)
        frames = [message["items"] for message in page.messages if message["type"] == "snapshots"]
    seen = [snapshot["current"] for items in frames for snapshot in items if snapshot["id"] == task_id]
    assert len([value for value in seen if 0 < value < 200]) >= 5
    assert seen == sorted(seen)
    end = page.shown[task_id]
    assert (end["state"], end["current"], end["result"]) == ("SUCCESS", 200, "200 entries synced.")


def test_after_a_break_it_goes_on_where_it_stopped(site: Site) -> None:
    """The second attempt begins with what the first one kept; what is shown says so."""
    visitor = Visitor(site, site.user())
    task_id = visitor.start("feed", entries=60, at_once=6, breaks_after=40)
    waiting = when(task_id, lambda record: record.state == "RETRY", 15)
    assert waiting.snapshot()["current"] == 40
    again = when(task_id, lambda record: record.attempt == 2 and record.snapshot()["total"] == 60, 15)
    assert again.snapshot()["current"] >= 40
    assert end_of(task_id, 20).state == "SUCCESS"


def test_a_cancel_ends_the_loop(site: Site) -> None:
    """It is raised in the loop's own coroutine, and comes out of it whole."""
    visitor = Visitor(site, site.user())
    task_id = visitor.start("feed", entries=500, at_once=1, breaks_after=0)
    when(task_id, lambda record: record.snapshot()["current"] >= 3, 15)
    cancel(task_id, "1")
    record = end_of(task_id, 5)
    assert record.state == "REVOKED"
    assert record.snapshot()["current"] < 500
