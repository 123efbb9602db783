"""Ten thousand idle watchers on one process: what each of them costs in memory, and all of them in CPU."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Final

import progress
from bench.crowd import Crowd
from bench.figures import Bar, Column, Outcome, Rows, times, transposed
from bench.many_reporters import Fleet
from bench.rig import Rig
from bench.servers import Measured, OnDaphne, OnUvicorn, Passing, site

WATCHERS = 10_000
TASKS = 1_000  # that stand still; each is watched by as many
AT_ONCE = 200  # connections on their way at a time
SETTLE = 6.0  # seconds from the last connection; what happens once per connection is over by then
SECONDS = 60.0  # idle: six heartbeats are due to each watcher, and one ping of uvicorn

OURS: Final = {"ours on Daphne": "accepted by Daphne", "ours on uvicorn": "accepted by uvicorn"}
OFTEN = "ours on uvicorn, pinged every 20 s"

HOW = """\
{watchers:,} sockets of one load client are opened on each server, {at_once} on their way at a time. On **ours**, the
shipped site, each watches one of {tasks:,} running tasks by a watch token, so each task has {each}; it has been shown
its snapshot before anything is measured. The tasks live (a process with the real publisher renews their leases) and
do not move. **accepted by** is the floor: an ASGI application in the same program that accepts a connection and does
nothing with it. `websockets` and picows are programs without Django that do the same. uvicorn pings each connection
every 60 s, as our documentation has it for crowds; **pinged every 20 s** is what it does by itself, and what Daphne
does.

**Memory** is the proportional set size of the server process, {settle:g} s after its last connection, less that of
the same process before the first, shared out. **CPU** is user and system time of the server process in {seconds:g} s,
in which it sends each watcher of ours six heartbeats and looks at the {tasks:,} tasks every few seconds; floor and
peers send nothing, but the pings of their server. Memory of the kernel for the sockets is in neither.

One after the other the servers get their connections, and all of them are idle together. After that it is checked
that no connection was closed, and that every watcher of ours heard its heartbeats.
"""

WHY = """\
Every ten seconds each watcher is sent a heartbeat, which is a system call, every five its session and tokens are
looked at, and every four the tasks are. The floor is what the server does with a connection: Daphne looks at each
every two seconds and pings it every 20, uvicorn only pings it."""


class PingsOften(OnUvicorn):
    """uvicorn with its own default."""

    pings = 20


@dataclass(slots=True)
class Side:
    """One server with its crowd."""

    server: Measured
    address: str
    say: Sequence[Sequence[Mapping[str, Any]]] = ()
    crowd: Crowd = field(default_factory=Crowd)
    bare: int = 0  # bytes before anybody connected
    figures: dict[str, float] = field(default_factory=dict)


def measure(rig: Rig) -> Outcome:
    """All servers are connected to in turn, and idle together."""
    found: dict[str, list[dict[str, float]]] = {}
    with Fleet(rig, 1, still=True) as fleet:
        fleet.hold(TASKS)
        for number in range(rig.repetitions):
            began = time.monotonic()
            for name, figures in _once(rig, fleet.ids(TASKS), number).items():
                found.setdefault(name, []).append(figures)
                rig.say(f"{number + 1}/{rig.repetitions} {name}", figures, time.monotonic() - began)
    rows = {name: transposed(each) for name, each in found.items()}
    columns = [
        Column("memory", "KB per watcher", "over the process that nobody has connected to"),
        Column("above the floor", "KB per watcher", "over a connection that the same server only accepts"),
        Column("CPU", "% of a core", "while nothing happens"),
        Column("connects", "1/s", "ours: with the first snapshot", more_is_better=True),
    ]
    how = HOW.format(
        watchers=WATCHERS, at_once=AT_ONCE, tasks=TASKS, each=WATCHERS // TASKS, settle=SETTLE, seconds=SECONDS
    )
    ours = [*OURS, OFTEN]
    return Outcome("10 000 idle watchers", how, columns, rows, _bars(rows), plot="memory", ours=ours)


def _bars(rows: Rows) -> list[Bar]:
    most = {"ours on Daphne": 15, "ours on uvicorn": 8}
    memory = [Bar(f"memory of a watcher, {name}", rows[name]["memory"], 40, unit="KB") for name in OURS]
    near = {name: f"{times(rows, 'CPU', name, floor)}." for name, floor in OURS.items()}
    cpu = [
        Bar(f"CPU, {name}", rows[name]["CPU"], most[name], unit="% of a core", why=WHY, near=near[name])
        for name in OURS
    ]
    return memory + cpu


def _once(rig: Rig, ids: list[str], number: int) -> dict[str, dict[str, float]]:
    """Figures by side. Who is connected to first changes with `number`."""
    with ExitStack() as stack:
        sides = _sides(rig, ids, stack)
        names = list(sides)
        first = number % len(names)
        for name in names[first:] + names[:first]:
            _connect(sides[name])
        time.sleep(SETTLE)
        for side in sides.values():
            side.figures["memory"] = (side.server.memory - side.bare) / WATCHERS / 1000
        _idle(sides)
        for ours, floor in {**OURS, OFTEN: OURS["ours on uvicorn"]}.items():
            sides[ours].figures["above the floor"] = sides[ours].figures["memory"] - sides[floor].figures["memory"]
        return {name: side.figures for name, side in sides.items()}


def _sides(rig: Rig, ids: list[str], stack: ExitStack) -> dict[str, Side]:
    say = [[{"type": "watch", "ids": [name], "token": progress.watch_token(name)}] for name in ids]
    sides = {}
    for kind, ours, floor in zip((OnDaphne, OnUvicorn), OURS, OURS.values(), strict=True):
        sides[ours] = Side(site(kind, rig, f"ours-{kind.__name__}"), "/ws/progress/", say)
        sides[floor] = Side(site(kind, rig, f"bare-{kind.__name__}"), "/bare/")
    sides[OFTEN] = Side(site(PingsOften, rig, "often-OnUvicorn"), "/ws/progress/", say)
    for peer in ("websockets", "picows"):
        sides[peer] = Side(Passing(rig, f"{peer}_server", "nothing", rig.folder), "/")
        sides[peer].server.start()
    for side in sides.values():
        stack.callback(side.server.kill)
        stack.enter_context(side.crowd)
    return sides


def _connect(side: Side) -> None:
    side.bare = side.server.memory
    began = time.monotonic()
    side.crowd.open([f"{side.server.ws}{side.address}"] * WATCHERS, say=side.say, at_once=AT_ONCE)
    if side.say:
        side.crowd.wait(0, 120)
    side.figures["connects"] = WATCHERS / (time.monotonic() - began)


def _idle(sides: dict[str, Side]) -> None:
    """Nothing happens for a while. Raises `RuntimeError` if that was not so."""
    before = {name: (side.server.cpu, side.crowd.count()["frames"]) for name, side in sides.items()}
    began = time.monotonic()
    time.sleep(SECONDS)
    for name, side in sides.items():
        seconds, heard = time.monotonic() - began, side.crowd.count()
        cpu, frames = before[name]
        side.figures["CPU"] = (side.server.cpu - cpu) / seconds * 100
        beats = (heard["frames"] - frames) / WATCHERS
        if heard["closed"] or heard["sockets"] != WATCHERS or (side.say and not 5 <= beats <= 7):
            raise RuntimeError(f"{name}: {heard} and {beats:.1f} frames for each, in {seconds:.0f} s.")
