"""A slow or hostile client costs little memory and is cut, on Daphne and on uvicorn, with the shipped patience."""

from __future__ import annotations

import asyncio
import itertools
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import AsyncExitStack, ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.acted import ActedTask
from tests.deaf import deaf_reader, is_cut, memory, text_frame
from tests.processes import Login, Uvicorn, Web, in_this_process, wait_until
from tests.web_only import WebOnly
from tests.wire import wire

READERS = 40  # on each server
EACH = 256 * 1024  # bytes that one of them may cost
CUT_WITHIN = 80.0  # seconds: the 30 of the server's patience begin when nothing more fits
PING = text_frame(json.dumps({"type": "ping"}))


class Both(WebOnly):
    """One Redis, one Daphne and one uvicorn."""

    def start(self) -> Both:
        super().start()
        self.servers = [self.web, Uvicorn(self.folder, self.env, name="uvicorn").start()]
        return self

    def stop(self) -> None:
        for server in self.servers:
            server.kill()
        super().stop()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    own = Both(tmp_path_factory.mktemp("hostile") / "site")
    own.web.application = "project.asgi:application"
    try:
        yield own.start()
    finally:
        own.stop()


@pytest.fixture
def both(running: Both, settings: Any) -> Iterator[Both]:
    with in_this_process(settings, running.redis.url, running.prefix):
        yield running


@pytest.fixture
def owner(running: Both) -> Login:
    return running.user()


@contextmanager
def pinging(connections: list[socket.socket]) -> Iterator[None]:
    """Each says something every half second, as a client that is alive; none ever reads."""
    over = threading.Event()

    def ping() -> None:
        while not over.wait(0.5):
            for connection in connections:
                with suppress(OSError):  # its server does not listen to it either; or it is cut
                    connection.send(PING, socket.MSG_DONTWAIT)

    thread = threading.Thread(target=ping)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def ws(server: Web) -> str:
    return server.url.replace("http", "ws", 1) + "/ws/progress/"


async def test_readers_that_ping_and_never_read_are_cut_and_cost_little(both: Both, owner: Login) -> None:
    """40 on each server: ≤ 256 KB of memory each whatever is sent; cut after 30 s of taking none; others see all."""
    tasks = [ActedTask(owner=str(owner.pk)).queue() for _ in range(20)]
    ids = [task.id for task in tasks]
    watch = json.dumps({"type": "watch", "ids": ids})
    async with AsyncExitStack() as stack:
        pages = [await stack.enter_async_context(wire(ws(server), cookie=owner.cookie)) for server in both.servers]
        for page in pages:
            await page.watch(*ids)
        before = [memory(server.pid) for server in both.servers]
        with ExitStack() as connections:
            raws = [
                connections.enter_context(deaf_reader(server, owner, watch))
                for server in both.servers
                for _ in range(READERS)
            ]
            grown = [0, 0]
            with pinging(raws):
                async with asyncio.timeout(CUT_WITHIN):
                    # How much it takes until nothing more fits is the system's matter.
                    for step in itertools.count(1):
                        cut = [is_cut(raw) for raw in raws]
                        if all(cut):
                            break
                        if not any(cut):
                            grown = [
                                memory(server.pid) - was for server, was in zip(both.servers, before, strict=True)
                            ]
                        for task in tasks:
                            task.reporter.update(message="m" * 700)
                            task.run(step, 100_000)
                        for page in pages:
                            await page.sees(tasks[-1].id, current=step)
        for page in pages:
            await page.lives()
    assert max(grown) <= READERS * EACH
    assert [server.output().count("took nothing for 30 s") for server in both.servers] == [READERS] * 2


@pytest.mark.parametrize("size", [100, 60_000, 900_000])
async def test_a_client_that_floods_is_closed_and_costs_little(both: Both, owner: Login, size: int) -> None:
    """Also while Redis hangs, so that nothing is handled: 40 MB are said, next to nothing is kept."""
    task = ActedTask(owner=str(owner.pk)).queue()
    flood = text_frame(json.dumps({"type": "ping", "pad": "x" * size}))
    for server in both.servers:
        before = forget_peak(server.pid)
        both.redis.suspend()
        try:
            with deaf_reader(server, owner, json.dumps({"type": "watch", "ids": [task.id]})) as raw:
                await asyncio.to_thread(say_until_cut, raw, flood * (1_000_000 // len(flood) + 1))
            assert peak(server.pid) - before < 20e6, server.name
        finally:
            both.redis.resume()


def forget_peak(pid: int) -> int:
    """Let the peak of a process begin with what it has now, in bytes."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")
    return peak(pid)


def peak(pid: int) -> int:
    """The most bytes that a process had resident."""
    (line,) = (line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def say_until_cut(raw: socket.socket, megabyte: bytes) -> None:
    """Say up to 40 MB, as fast as it is taken, until the other side gives up the connection."""
    raw.settimeout(20)
    with suppress(ConnectionError):
        for _ in range(40):
            raw.sendall(megabyte)
    wait_until(lambda: is_cut(raw), 20, "the flooding client is cut")
