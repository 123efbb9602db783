"""The web process is stopped as a deploy stops it, with many sockets open. Promise 8. And made deaf: promise 9."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Final

from tests.processes import wait_until

from .checker import Finding, within
from .rig import Rig
from .sizes import Sizes
from .verdict import Line

EXIT_WITHIN: Final = 10.0
RIGHT_WITHIN: Final = 10.0
RESTART: Final = 4012


def run(rig: Rig, sizes: Sizes, *, name: str) -> list[Line]:
    """SIGTERM with `sizes.sockets` clients on; a task ends while nobody is there; a new process takes the port."""
    worker = rig.worker(f"restart-{name}", queues=f"restart-{name}")
    worker.wait_ready()
    task, _ = rig.send("work", 100, 0.1, queue=worker.queues)
    clients = rig.crowd.add(rig.client(f"{name} {number}", [task]) for number in range(sizes.sockets))
    wait_until(lambda: all(task in client.newest for client in clients), 60, "everybody is connected")
    began = time.monotonic()
    status = rig.web.stop(EXIT_WITHIN + 5)
    left = time.monotonic() - began
    closes = [client.closes[-1] for client in clients if client.closes]
    wait_until(lambda: all(client.closes for client in clients), 10, "everybody has noticed")
    closes = [client.closes[-1] for client in clients]
    rig.web.start()
    listens = time.monotonic()
    waiting = {client.name for client in clients}
    right: dict[str, float | None] = dict.fromkeys(waiting)

    def all_right() -> bool:
        for client in clients:
            if client.name in waiting and client.open_since > began and _saw(client, task, listens):
                waiting.discard(client.name)
                right[client.name] = time.monotonic() - listens
        return not waiting

    with suppress(AssertionError):  # the verdict says who was not
        wait_until(all_right, RIGHT_WITHIN + 10, "everybody is right")
    worker.kill()
    wrong = [
        f"{each.watcher}: code {each.code}, retry {each.retry_ms}"
        for each in closes
        if each.code != RESTART or not each.retry_ms
    ]
    retries = [each.retry_ms for each in closes if each.retry_ms]
    if retries and max(retries) - min(retries) < 500:
        wrong.append(f"all come back within {max(retries) - min(retries)} ms")
    late = [] if left <= EXIT_WITHIN else [f"it took {left:.1f} s"]
    return [
        Line(
            f"8 A code and a time for every socket ({name})",
            "100 %",
            Finding(f"{len(closes) - len(wrong)} of {len(closes)}", wrong),
        ),
        Line(
            f"8 The process leaves ({name})",
            f"≤ {EXIT_WITHIN:.0f} s",
            Finding(f"{left:.1f} s, status {status}", late),
        ),
        Line(
            f"8 Everybody is right again ({name})",
            f"≤ {RIGHT_WITHIN:.0f} s after it listens",
            within(right, RIGHT_WITHIN, "clients"),
        ),
    ]


def _saw(client: object, task: str, since: float) -> bool:
    newest = getattr(client, "newest", {}).get(task)
    return newest is not None and newest.at >= since


def deaf(rig: Rig, *, name: str) -> list[Line]:
    """The link of the channel layer goes half-open: nothing comes, nobody is told. Redis answers everybody else."""
    worker = rig.worker(f"deaf-{name}", queues=f"deaf-{name}")
    worker.wait_ready()
    task, _ = rig.send("work", 10_000, 0.1, queue=worker.queues)
    (client,) = rig.crowd.add([rig.client(f"deaf {name}", [task])])
    wait_until(lambda: task in client.newest, 20, "it is watched")
    before, began = rig.counted()["receivers_replaced"], time.monotonic()
    rig.on_proxy(rig.proxy.swallow_present)
    replaced: dict[str, float | None] = {"the receiver": None}
    with suppress(AssertionError):  # the verdict says so
        wait_until(lambda: rig.counted()["receivers_replaced"] > before, 20, "it is replaced")
        replaced["the receiver"] = time.monotonic() - began
    worker.kill()
    return [Line(f"9 A deaf receiver is replaced ({name})", "≤ 10 s", within(replaced, 10.0, "receivers"))]
