"""What one delivered message costs the server: our hub against the Channels tutorial's consumer.

One Daphne serves both. A thousand sockets watch one task, whose publisher runs here; it takes a hundred steps, each
when all sockets have the one before, so that every message is delivered to everybody by both. Counted is the CPU
time of the server process alone; the load client is this process. A burst follows, in which nobody waits: there
the newest is enough for our readers.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import sys
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from django.conf import settings
from websockets.asyncio.client import ClientConnection, connect

import progress
from tests.processes import Web

from .running_task import CountedReporter, running_task
from .timing import Spread

WATCHERS = 1000
MESSAGES = 100
REPETITIONS = 3
BURST = 30  # messages in the burst; fewer than a channel's capacity of 100, so that the tutorial loses none
CONNECTS_AT_ONCE = 50
TICKS = os.sysconf("SC_CLK_TCK")  # per second, the unit of /proc/<pid>/stat
PATHS = {"the hub": "ws/progress/", "the tutorial's consumer": "tutorial/"}


class Daphne(Web):
    """Daphne with `bench.asgi`."""

    def command(self) -> Sequence[str]:
        """How it is started."""
        address = ("-b", "127.0.0.1", "-p", str(self.port))
        return [sys.executable, "-m", "daphne", *address, "bench.asgi:application"]

    def cpu(self) -> float:
        """Seconds of CPU, user and system, that the process has used."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS


def measure(folder: Path) -> dict[str, Any]:
    """CPU per delivery and deliveries per second of both ways; what a burst costs each."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    server = Daphne(folder, os.environ, name="daphne").start()
    settings.PROGRESS_INTERVAL = 0.001  # seconds; the crowd sets the pace, not the publisher
    try:
        return asyncio.run(_measure(server))
    finally:
        del settings.PROGRESS_INTERVAL
        server.kill()


async def _measure(server: Daphne) -> dict[str, Any]:
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in PATHS}
    for _ in range(REPETITIONS):
        for name, path in PATHS.items():
            runs[name].append(await _one_run(server, path))
    columns = runs["the hub"][0]
    rows = {
        name: {column: Spread.of([run[column] for run in found]) for column in columns}
        for name, found in runs.items()
    }
    return {"rows": rows, "repetitions": REPETITIONS, "watchers": WATCHERS, "messages": MESSAGES, "burst": BURST}


async def _one_run(server: Daphne, path: str) -> dict[str, float]:
    with running_task(title="Import customers.csv") as task:
        async with AsyncExitStack() as stack:
            began = time.perf_counter()
            crowd = await Crowd.open(stack, f"ws://127.0.0.1:{server.port}/{path}{task.job.key}/", task.job.key)
            connecting = time.perf_counter() - began
            await _next(task, crowd)  # everybody is connected and joined
            await _quiet(server)
            paced = await _paced(server, task, crowd)
            burst = await _burst(server, task, crowd)
        await _quiet(server)
    return {"connects_per_second": WATCHERS / connecting, **paced, **burst}


async def _next(task: CountedReporter, crowd: Crowd) -> None:
    """One more step, until everybody has it."""
    task.update(current=task.current + 1, total=1000, message="Reading rows")
    await crowd.wait_for(int(task.current))


async def _paced(server: Daphne, task: CountedReporter, crowd: Crowd) -> dict[str, float]:
    deliveries, cpu, began = crowd.received, server.cpu(), time.perf_counter()
    for _ in range(MESSAGES):
        await _next(task, crowd)
    took, cpu, deliveries = time.perf_counter() - began, server.cpu() - cpu, crowd.received - deliveries
    if deliveries != MESSAGES * WATCHERS:
        raise RuntimeError(f"Expected {MESSAGES * WATCHERS} deliveries, got {deliveries}.")
    return {"cpu_us_per_delivery": cpu / deliveries * 1e6, "deliveries_per_second": deliveries / took}


async def _burst(server: Daphne, task: CountedReporter, crowd: Crowd) -> dict[str, float]:
    deliveries, cpu, began = crowd.received, server.cpu(), time.perf_counter()
    for _ in range(BURST):
        saves = task.saves
        task.update(current=task.current + 1)
        async with asyncio.timeout(10):
            # Each is taken by the publisher, in its own thread, before the next one.
            while task.saves == saves:  # noqa: ASYNC110 (a thread sets no asyncio.Event)
                await asyncio.sleep(0.001)
    await crowd.wait_for(int(task.current))
    took = time.perf_counter() - began
    await _quiet(server)  # what was sent to everybody may still be on its way in older messages
    return {
        "burst_cpu_seconds": server.cpu() - cpu,
        "burst_seconds": took,
        "burst_deliveries": crowd.received - deliveries,
    }


async def _quiet(server: Daphne) -> None:
    """Wait until the server has nothing left to do."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        before = server.cpu()
        await asyncio.sleep(0.5)
        if server.cpu() - before < 0.05:
            return
    raise RuntimeError("The server did not come to rest within 60 s.")


class Crowd:
    """A thousand sockets, and how many of them have got how far."""

    def __init__(self) -> None:
        self.received = 0
        self._seen = 0
        self._behind = 0
        self._all = asyncio.Event()
        self._target = 0
        self._newest: list[int] = []

    @classmethod
    async def open(cls, stack: AsyncExitStack, address: str, key: str) -> Crowd:
        """Connect everybody."""
        crowd = cls()
        turn, token = asyncio.Semaphore(CONNECTS_AT_ONCE), progress.watch_token(key)

        async def one() -> ClientConnection:
            async with turn:
                socket = await connect(address, compression=None, ping_interval=None, max_queue=None, open_timeout=60)
                if "/ws/progress/" in address:
                    await socket.send(json.dumps({"type": "token", "token": token}))
                return socket

        sockets = await asyncio.gather(*[one() for _ in range(WATCHERS)])
        crowd._newest = [0] * len(sockets)
        readers = [asyncio.create_task(crowd._read(number, socket)) for number, socket in enumerate(sockets)]
        stack.push_async_callback(_close, sockets, readers)
        return crowd

    async def _read(self, number: int, socket: ClientConnection) -> None:
        async for text in socket:
            current = _current(text)
            if current is None:
                continue
            self.received += 1
            if self._newest[number] < self._target <= current:
                self._behind -= 1
                if not self._behind:
                    self._all.set()
            self._newest[number] = current

    async def wait_for(self, current: int) -> None:
        """Return when every socket has been shown `current`, or more."""
        self._target, self._behind = current, sum(newest < current for newest in self._newest)
        if self._behind:
            self._all.clear()
            async with asyncio.timeout(120):
                await self._all.wait()


async def _close(sockets: Sequence[ClientConnection], readers: Sequence[asyncio.Task[None]]) -> None:
    for reader in readers:
        reader.cancel()
    await asyncio.gather(*[socket.close() for socket in sockets], *readers, return_exceptions=True)


def _current(text: str | bytes) -> int | None:
    """The `current` in a frame without decoding all of it: this process must not be the bottleneck."""
    _, found, rest = str(text).partition('"current":')
    return int(rest.partition(",")[0]) if found else None
