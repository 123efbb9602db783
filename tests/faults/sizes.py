"""How much of everything a run does. The same code, other numbers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sizes:
    """One run. Seconds where nothing else is said."""

    storm: float  # how long tasks are sent while things break
    ends: int  # tasks that must have ended by then, at least
    pace: float  # tasks per second
    at_once: int  # tasks that each of the two workers runs
    watchers: int
    hold: tuple[float, float]  # how long a fault lasts
    kill_rounds: int  # each kills `workers` whole workers
    workers: int
    tasks_each: int
    stall_rounds: int  # each stops one worker for 10 s
    sockets: int
    hostile: int
    deaths: int  # tasks that run while Redis is dead
    messages: int  # shuffled, doubled and lost, into the page's own code


BRIEF = Sizes(
    storm=80,
    ends=150,
    pace=4,
    at_once=4,
    watchers=6,
    hold=(1.0, 4.0),
    kill_rounds=1,
    workers=3,
    tasks_each=4,
    stall_rounds=1,
    sockets=200,
    hostile=32,
    deaths=40,
    messages=200_000,
)
SOAK = Sizes(
    storm=900,
    ends=10_000,
    pace=12,
    at_once=16,
    watchers=10,
    hold=(1.0, 10.0),
    kill_rounds=7,
    workers=3,
    tasks_each=10,
    stall_rounds=20,
    sockets=2000,
    hostile=60,
    deaths=400,
    messages=1_000_000,
)
