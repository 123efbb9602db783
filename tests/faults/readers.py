"""Clients that ask and never read, and never go. Promise 7."""

from __future__ import annotations

import json
import socket
import time
from contextlib import ExitStack, suppress
from typing import Final

from tests.deaf import deaf_reader, is_cut, memory, text_frame
from tests.processes import wait_until

from .checker import Finding, within
from .nemesis import pause
from .rig import Rig
from .sizes import Sizes
from .verdict import Line

EACH: Final = 256 * 1024  # bytes in the process
CUT_WITHIN: Final = 35.0  # seconds
FULL: Final = 15.0  # seconds until the system's own buffers, which are not the server's, are full
TASKS: Final = 8
LINES: Final = 60


def run(rig: Rig, sizes: Sizes) -> list[Line]:
    """As many as `sizes.hostile`, beside one that reads, while tasks say something ten times a second."""
    worker = rig.worker("readers", queues="readers", concurrency=TASKS)
    worker.wait_ready()
    ids = [rig.send("talks", LINES, 100_000, 0.05, queue="readers")[0] for _ in range(TASKS)]
    (reader,) = rig.crowd.add([rig.client("reader", ids)])
    wait_until(lambda: all(task in reader.newest and reader.newest[task].seq for task in ids), 20, "all of them run")
    with ExitStack() as stack:
        watch = json.dumps({"type": "watch", "ids": ids})
        # One comes and goes before anything is measured: what the first of its kind loads is nobody's memory.
        with deaf_reader(rig.web, rig.user, watch):
            pause(2)
        before = memory(rig.web.pid)
        sockets = [stack.enter_context(deaf_reader(rig.web, rig.user, watch)) for _ in range(sizes.hostile)]
        cut_at, most = _until_cut(rig, sockets, ids, before)
    counted = rig.counted()["cut"]
    worker.kill()
    each = max(most - before, 0) / sizes.hostile
    wrong = [] if each <= EACH else [f"{each / 1024:.0f} KB for each of {sizes.hostile}"]
    cut = within(cut_at, FULL + CUT_WITHIN, "clients")
    if counted < len(sockets):
        cut.wrong.append(f"the server counted {counted} of {len(sockets)}")
    memory_told = Finding(f"{each / 1024:.0f} KB each, {sizes.hostile} clients", wrong)
    return [
        Line("7 Memory of a client that never reads", "≤ 256 KB", memory_told),
        Line("7 It is cut", f"≤ {CUT_WITHIN:.0f} s after the system's buffers are full (≤ {FULL:.0f} s)", cut),
    ]


def _until_cut(
    rig: Rig, sockets: list[socket.socket], ids: list[str], most: int
) -> tuple[dict[str, float | None], int]:
    """Ask on and on, and read nothing. When each was cut (s since now), and the most memory that was taken."""
    question = text_frame(json.dumps({"type": "logs", "id": ids[0], "ref": "x" * 120}))
    began, cut_at = time.monotonic(), dict[str, float | None]()
    for raw in sockets:
        raw.setblocking(False)
    while len(cut_at) < len(sockets) and time.monotonic() < began + FULL + CUT_WITHIN + 10:
        pause(0.1)
        most = max(most, memory(rig.web.pid))
        for number, raw in enumerate(sockets):
            if str(number) in cut_at:
                continue
            with suppress(OSError):  # its own way out is full as well, or it is cut
                raw.send(question)
            if is_cut(raw):
                cut_at[str(number)] = time.monotonic() - began
    never: dict[str, float | None] = {str(number): None for number in range(len(sockets))}
    return never | cut_at, most
