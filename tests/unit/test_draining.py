"""How a process takes leave of its sockets, and whose signal it is."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from progress import draining
from progress.draining import Drain, Sigterm, drain_on_sigterm, spread


@pytest.fixture(autouse=True)
def _own_signal() -> Iterator[None]:
    """The handler that was there is there again."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


class Socket:
    """A connection that leaves when it is asked to, or never."""

    def __init__(self, drain: Drain, hangs: bool = False) -> None:
        self.drain, self.hangs = drain, hangs
        self.retry_ms: int | None = None
        self.hung_up = False
        drain.enter(self)

    async def leave(self, retry_ms: int) -> None:
        self.retry_ms = retry_ms
        if self.hangs:
            await asyncio.Event().wait()
        self.drain.left(self)

    def hang_up(self) -> None:
        self.hung_up = True


@pytest.mark.parametrize(("count", "seconds"), [(1, 5), (200, 5), (2000, 8), (10_000, 40)])
def test_clients_come_back_evenly(count: int, seconds: int) -> None:
    """Over five seconds, longer when they are many: no tenth of it has more than its share and one."""
    found = spread(count)
    assert len(found) == count
    assert min(found) >= 500
    assert max(found) <= 500 + seconds * 1000
    part = seconds * 100
    assert max(Counter((each - 500) // part for each in found).values()) <= count / 10 + 1
    assert count < 100 or found != sorted(found)  # who connected first is not always first


async def test_a_loop_that_is_blocked_keeps_nobody() -> None:
    """Nothing in that loop can be asked to leave: the process ends after the time that it was given."""
    left = threading.Event()
    sigterm = Sigterm(Drain(), 0.05, leave=lambda _status: left.set())
    sigterm.take()
    sigterm._handle(signal.SIGTERM, None)
    assert left.wait(5)  # nothing else happens in this loop meanwhile


def test_nobody_has_no_time_to_come_back() -> None:
    """Nothing is divided by zero sockets."""
    assert spread(0) == []


async def test_with_nobody_there_it_is_over_at_once() -> None:
    """No pause and no patience."""
    drain = Drain()
    await asyncio.wait_for(drain.run(), 0.2)
    assert drain.begun


async def test_who_takes_nothing_is_hung_up_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """After their patience; those who left in order are not."""
    monkeypatch.setattr(draining, "TELLING", 0.05)
    monkeypatch.setattr(draining, "ANSWERING", 0.05)
    drain = Drain()
    good, bad = Socket(drain), Socket(drain, hangs=True)
    await drain.run()
    assert (good.hung_up, bad.hung_up) == (False, True)
    assert good.retry_ms is not None


async def test_requests_are_waited_for_and_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """Until they are answered; at the latest until the patience is over."""
    monkeypatch.setattr(draining, "REQUESTS", 0.3)
    drain = Drain()
    with drain.request():
        running = asyncio.create_task(drain.run())
        await asyncio.sleep(0)
        assert not running.done()
    await asyncio.wait_for(running, 0.2)
    with drain.request():
        await asyncio.wait_for(drain.run(), 2)


def sigterm(drain: Drain | None = None) -> Sigterm:
    return Sigterm(drain or Drain(), 60, leave=lambda _status: None)


async def test_the_signal_is_handed_on_once_the_sockets_are_gone() -> None:
    """The handler that was there gets it, once, and is there again."""
    got: list[int] = []

    def theirs(number: int, _frame: Any) -> None:
        got.append(number)

    signal.signal(signal.SIGTERM, theirs)
    drain = Drain()
    socket = Socket(drain)
    ours = sigterm(drain)
    ours._within = 0
    ours.take()
    signal.raise_signal(signal.SIGTERM)
    assert got == []
    async with asyncio.timeout(2):
        while not got:  # noqa: ASYNC110 (a signal handler gives no event)
            await asyncio.sleep(0.01)
    assert got == [signal.SIGTERM]
    assert socket.retry_ms is not None
    assert signal.getsignal(signal.SIGTERM) is theirs


async def test_who_ignores_the_signal_goes_on_ignoring_it() -> None:
    """Nothing is taken from a process that does not want to leave."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sigterm().take()
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN


def test_in_another_thread_nothing_is_taken() -> None:
    """Python lets only its main thread handle signals; an application that runs elsewhere is served all the same."""
    before, answered = signal.getsignal(signal.SIGTERM), []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        answered.append(scope["type"])

    def serve() -> None:
        asyncio.run(drain_on_sigterm(application)({"type": "http"}, None, None))

    thread = threading.Thread(target=serve)
    thread.start()
    thread.join()
    assert answered == ["http"]
    assert signal.getsignal(signal.SIGTERM) == before
