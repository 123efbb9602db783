"""Redis goes away for a minute, frozen first, then gone: the site goes on, and progress comes back by itself."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, NamedTuple

import pytest
from websockets.exceptions import InvalidStatus

from tests.guarded_redis import GuardedRedis
from tests.processes import wait_until

from .redis_of import records
from .shop import Shop

# Shorter on request, for somebody who works on this file.
OUTAGE = float(os.environ.get("OUTAGE", "60"))  # seconds
SLOWEST = 5.0  # seconds that any page may take, on a busy machine
SENDING = 0.5  # seconds that `.delay()` may take: 0.05 promised, once, and a busy machine
PAUSE = 0.05  # seconds between two wishes of a client


class Visit(NamedTuple):
    """One answer, and how long it took."""

    page: str
    status: int
    seconds: float
    sent_in: float = 0.0


class Visitors:
    """Clients that want all kinds of pages, one after the other, for as long as the block lasts."""

    def __init__(self, shop: Shop, task_id: str) -> None:
        self.visits: list[Visit] = []
        self.errors: list[str] = []
        jwt = shop.jwt("bob")
        wishes: dict[str, Callable[[], Any]] = {
            "a page": lambda: shop.ask("/en/"),
            "a list by API": lambda: shop.ask("/api/items/", bearer=jwt),
            "a page that shows a task": lambda: shop.ask(f"/de/exports/{task_id}/"),
            "a change that sends a task": lambda: shop.ask("/api/items/", {"title": "one more"}, bearer=jwt),
            "an export": lambda: shop.ask("/api/exports/", {"rows": 3}, bearer=jwt),
        }
        self._stopped = threading.Event()
        self._threads = [threading.Thread(target=self._visit, args=wish) for wish in wishes.items()]

    def __enter__(self) -> Visitors:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join(30)

    def _visit(self, page: str, wish: Callable[[], Any]) -> None:
        while not self._stopped.wait(PAUSE):
            began = time.monotonic()
            try:
                answer = wish()
                sent_in = answer.json.get("sent_in", 0.0) if page.startswith("a change") else 0.0
                self.visits.append(Visit(page, answer.status, time.monotonic() - began, sent_in))
            except Exception as error:
                self.errors.append(f"{page}: {error!r}")


@pytest.fixture
def away(guarded_redis: GuardedRedis) -> Iterator[Callable[[], None]]:
    """Take Redis away, half of the time frozen and half of it gone; it is there again when this returns."""

    def take_away() -> None:
        waiting = threading.Event()
        guarded_redis.suspend()
        waiting.wait(OUTAGE / 2)
        guarded_redis.kill()
        waiting.wait(OUTAGE / 2)
        guarded_redis.start()

    yield take_away
    guarded_redis.resume()
    if not guarded_redis.alive:
        guarded_redis.start()


def pids(shop: Shop) -> set[int]:
    """All processes of the shop, children too."""
    groups = {program.pid for program in shop.programs}
    found = set()
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                if os.getpgid(int(entry)) in groups:
                    found.add(int(entry))
            except ProcessLookupError:
                continue
    return found


@pytest.mark.timeout(240)  # a minute of it is the outage, and what was sent meanwhile is done first
def test_the_site_does_not_notice_that_redis_is_away(shop: Shop, away: Callable[[], None]) -> None:
    """No error, bounded answers, no process that ends; afterwards a new task and a running one are live again."""
    running = shop.export("ann", rows=int(OUTAGE * 10) + 600, pause=0.1)
    wait_until(lambda: records(shop, [running["id"]])[0].get("state") == "PROGRESS", 20, "the task runs")
    before = pids(shop)
    with Visitors(shop, running["id"]) as visitors:
        away()
    assert visitors.errors == []
    assert {(visit.page, visit.status) for visit in visitors.visits} == {
        ("a page", 200),
        ("a list by API", 200),
        ("a page that shows a task", 200),
        ("a change that sends a task", 201),
        ("an export", 202),
    }
    assert len(visitors.visits) > OUTAGE
    slowest = max(visitors.visits, key=lambda visit: visit.seconds)
    assert slowest.seconds < SLOWEST, slowest
    assert max(visit.sent_in for visit in visitors.visits) < SENDING
    assert pids(shop) == before
    # What ran meanwhile is still running, and is seen to.
    with shop.socket() as socket:
        socket.say(type="watch", ids=[running["id"]], token=running["token"])
        seen: set[int] = set()
        wait_until(lambda: seen.update(_currents(socket)) or len(seen) > 2, 30, "the task of before moves again")
        fresh = shop.export("ann", rows=10, pause=0.05)
        socket.say(type="watch", ids=[fresh["id"]], token=fresh["token"])
        snapshots = socket.end_of(fresh["id"])
    assert snapshots[-1]["state"] == "SUCCESS"


def _currents(socket: Any) -> list[int]:
    return [item["current"] or 0 for item in socket.until("snapshots", 20)["items"]]


def test_the_chat_is_there_again(shop: Shop) -> None:
    """The site's own sockets find their layer again. (Its stale connections to Redis cost it a try each, as ever.)"""

    def talks() -> bool:
        with suppress(InvalidStatus), shop.socket("/ws/chat/after/") as one, shop.socket("/ws/chat/after/") as two:
            one.say(text="hello again")
            return two.hear() == {"text": "hello again"}
        return False

    wait_until(talks, 20, "a word of the chat arrives")
