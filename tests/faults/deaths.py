"""Workers are killed whole, or stopped for a while. Promise 5."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Final

from tests.processes import wait_until

from .checker import Finding, first, within
from .history import Seen
from .nemesis import pause
from .rig import FaultsWorker, Rig
from .sizes import Sizes
from .verdict import Line

LOST_WITHIN: Final = 20.0
STALL: Final = 10.0
LONG_STALL: Final = 22.0
HEALS_WITHIN: Final = 5.0


def run(rig: Rig, sizes: Sizes) -> list[Line]:
    """Kill `sizes.workers` workers a round and stall two, at once. Half of their tasks say nothing."""
    lost: dict[str, float | None] = {}
    healed: dict[str, float | None] = {}
    accused, stalled = list[str](), 0
    (client,) = rig.crowd.add([rig.client("deaths")])
    for number in range(max(sizes.kill_rounds, sizes.stall_rounds)):
        killed = _start(rig, f"kill{number}", sizes.workers, sizes.tasks_each) if number < sizes.kill_rounds else []
        short = _start(rig, f"stall{number}", 1, sizes.tasks_each) if number < sizes.stall_rounds else []
        long = _start(rig, f"long{number}", 1, sizes.tasks_each) if number < sizes.kill_rounds else []
        tasks = {worker.name: _occupy(rig, worker, sizes.tasks_each) for worker in (*killed, *short, *long)}
        rig.crowd.watch([task for ids in tasks.values() for task in ids], [client])
        _wait_running(client.newest.get, tasks)
        began = time.monotonic()
        for worker in killed:
            worker.kill()
        for worker in (*short, *long):
            worker.suspend()
        pause(STALL)
        for worker in short:
            worker.resume()
        pause(LONG_STALL - STALL)
        resumed = time.monotonic()
        for worker in long:
            worker.resume()
        pause(HEALS_WITHIN + 1)
        for worker in killed:
            lost |= {task: _after(began, _lost(client.seen, task)) for task in tasks[worker.name]}
        for worker in short:
            stalled += len(tasks[worker.name])
            accused += [task for task in tasks[worker.name] if _lost(client.seen, task) is not None]
        for worker in long:
            healed |= {task: _after(resumed, _again(client.seen, task)) for task in tasks[worker.name]}
        for worker in (*short, *long):
            worker.kill()
    false = Finding(f"{len(accused)} of {stalled} accused", [f"{task} was called lost" for task in accused])
    return [
        Line("5 A killed worker is noticed", f"≤ {LOST_WITHIN:.0f} s", within(lost, LOST_WITHIN, "tasks")),
        Line("5 A slow one is not accused", f"0 of those that stall {STALL:.0f} s", false),
        Line("5 A false accusation heals", f"≤ {HEALS_WITHIN:.0f} s", within(healed, HEALS_WITHIN, "tasks")),
    ]


def _start(rig: Rig, name: str, count: int, size: int) -> list[FaultsWorker]:
    names = [f"{name}-{number}" for number in range(count)]
    workers = [rig.worker(each, queues=each, concurrency=size) for each in names]
    for worker in workers:
        worker.wait_ready()
    return workers


def _occupy(rig: Rig, worker: FaultsWorker, count: int) -> list[str]:
    """Give it as many tasks as it runs at once, every other one silent."""
    return [rig.send("work", 10_000, 0.2, queue=worker.queues, chatty=number % 2)[0] for number in range(count)]


def _wait_running(newest: object, tasks: dict[str, list[str]]) -> None:
    assert callable(newest)
    ids = [task for each in tasks.values() for task in each]
    wait_until(
        lambda: all((shown := newest(task)) is not None and shown.state in ("STARTED", "PROGRESS") for task in ids),
        20,
        "all of them run",
    )


def _lost(seen: Iterable[Seen], task: str) -> float | None:
    return first(seen, lambda each: each.id == task and each.state == "LOST")


def _again(seen: Iterable[Seen], task: str) -> float | None:
    was = _lost(seen, task)
    return first(seen, lambda each: was is not None and each.id == task and each.at > was and each.state != "LOST")


def _after(moment: float, at: float | None) -> float | None:
    return None if at is None else at - moment
