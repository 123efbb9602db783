"""Tasks are sent and run while Redis is dead, then while it is stalled. Promise 6, and that no process leaves (9)."""

from __future__ import annotations

import time
from statistics import median
from typing import Final

from tests.processes import wait_until

from .checker import Finding
from .history import Execution, executions
from .rig import Rig
from .sizes import Sizes
from .verdict import Line

ADDED: Final = 1.0  # seconds to a task
CALL: Final = 0.1  # seconds to a call of ours
SEND_ONCE: Final = 0.05
SEND: Final = 0.001
STEPS, PAUSE = 10, 0.05


def run(rig: Rig, sizes: Sizes) -> list[Line]:
    """The same tasks with Redis well, killed and stalled."""
    count = sizes.deaths
    well, _ = _round(rig, count)
    rig.redis.kill()
    try:
        dead, sends = _round(rig, count)
        plain = [rig.send("untracked.work")[1] for _ in range(count)]
        alive = rig.web.alive
    finally:
        rig.redis.start()
    rig.redis.suspend()
    try:
        stalled, _ = _round(rig, max(count // 4, 4))
    finally:
        rig.redis.resume()
    usual = median(one.stopped - one.started for one in well)
    added = {one.id: one.stopped - one.started - one.overslept - usual for one in (*dead, *stalled)}
    slowest = max(one.slowest for one in (*dead, *stalled))
    extra = median(sends[1:]) - median(plain)
    wrong = [f"{task} took {more:.2f} s more" for task, more in added.items() if more > ADDED]
    ran = len(dead) + len(stalled)
    wrong += [] if ran == count + max(count // 4, 4) else [f"only {ran} tasks ended"]
    calls = [] if slowest <= CALL else [f"a call took {slowest * 1000:.0f} ms"]
    # The first one waits, as much longer as sending takes anyway.
    first = sends[0] - median(plain)
    sending = (
        []
        if first <= SEND_ONCE * 1.2 and extra <= SEND
        else [f"first {first * 1000:.1f} ms, then {extra * 1000:.2f} ms"]
    )
    left = [] if alive else ["the web process left"]
    return [
        Line(
            "6 Redis dead or stalled: tasks",
            f"all succeed, ≤ {ADDED:.0f} s added",
            Finding(f"{ran} succeeded, worst {max(added.values()):.2f} s added", wrong),
        ),
        Line(
            "6 Redis dead or stalled: a call",
            f"≤ {CALL * 1000:.0f} ms",
            Finding(f"slowest {slowest * 1000:.1f} ms", calls),
        ),
        Line(
            "6 Redis dead: sending",
            "≤ 50 ms once, then ≤ 1 ms",
            Finding(
                f"{max(first, 0) * 1000:.0f} ms once, then {max(extra, 0) * 1000:.2f} ms more than untracked", sending
            ),
        ),
        Line("9 Redis away: nobody leaves", "0 exits", Finding("0 exits" if alive else "1 exit", left)),
    ]


def _round(rig: Rig, count: int) -> tuple[list[Execution], list[float]]:
    sent = [rig.send("work", STEPS, PAUSE, chatty=100) for _ in range(count)]
    ids = [task for task, _ in sent]

    def ended() -> bool:
        done = executions(rig.oracle)
        return all(task in done and done[task][-1].stopped for task in ids)

    wait_until(ended, 60 + count, "all of them end")
    done = executions(rig.oracle)
    return [done[task][-1] for task in ids], [took for _, took in sent]


def returned(rig: Rig) -> float:
    """When Redis answers again."""
    wait_until(rig.redis.is_ready, 20, "Redis answers")
    return time.monotonic()
