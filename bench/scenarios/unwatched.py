"""A running task that nobody watches: what it asks of Redis; and how soon it is live for its first watcher."""

from __future__ import annotations

import statistics
import time
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from uuid import uuid4

import progress
from bench.crowd import Crowd, Sighting
from bench.figures import Bar, Column, Outcome
from bench.lateness import percentile
from bench.overheard import Overheard
from bench.rig import Rig
from bench.servers import OnUvicorn, site
from tests.processes import Redis, Worker, wait_until

TASKS = 20  # at the same time; the difference to none is what they cost
SECONDS = 12.0  # counted at a time: every interval of the product divides it
SETTLE = 4.0  # seconds until everything has its rhythm
PAUSE = 0.02  # seconds between two steps of a task
STEPS = 1_000_000  # more than any run takes
LOOK = 0.4  # seconds between two first watches
FIRST_LOOK = 1.5  # the same after a server's first, which must not be in the way of the second
CONNECTING = ("HELLO", "CLIENT", "AUTH", "SELECT")  # said once per connection; whatever else there is, counts

HOW = """\
A prefork worker with {tasks} processes; the records and hints have a Redis of their own, beside that of broker and
results, so every command counted there is ours. Counted for {seconds:g} s each: the worker idle, then with {tasks}
tasks that take {rate:g} steps a second each. **Per worker** is what the idle worker sends; **per task** is what is
added, shared out. A command is a round trip, or a part of one where several go together; what scripts do inside of
Redis is told apart, and connecting is left out. No server runs meanwhile.

Then a server (uvicorn) starts and a socket opens. One after the other, it watches each of the {tasks} tasks, each for
the first time. **Live** is the time from right before the message `watch` is sent until the socket is shown a step
that the task reached after that: the browser's message, the wake-up of the worker, and a step of the task.

The very first watch of a server process is told apart, as **a server's first**. It bears what the process does once:
it loads the modules of the Redis client and of the channel layer, opens its connections to Redis, and begins to
receive. The layer's receiver looks ten times a second whether a first group was joined, so up to 0.1 s of it is
waiting. **CPU of that** is what the server process itself used meanwhile, most of it for loading.
"""

WHY_FIRST = """\
What a server process does once: it loads the modules of the Redis client and of the channel layer, opens its
connections, and waits up to 0.1 s until its receiver sees that a group was joined."""


@dataclass(slots=True)
class Seen:
    """What was heard in all repetitions, by kind."""

    idle: Counter[str] = field(default_factory=Counter)
    added: Counter[str] = field(default_factory=Counter)  # by the tasks
    inside: Counter[str] = field(default_factory=Counter)  # likewise, within scripts
    seconds: float = 0.0

    def add(self, idle: Overheard, many: Overheard) -> None:
        """One more repetition."""
        self.idle.update(ours(idle))
        self.added.update(ours(many))
        self.added.subtract(ours(idle))  # what is less is kept, so that the sum is the difference
        self.inside.update(many.inside)
        self.inside.subtract(idle.inside)
        self.seconds += SECONDS

    def told(self) -> list[str]:
        """The same for people."""
        return [
            f"The idle worker, commands a second: {_rates(self.idle, self.seconds)}.",
            f"A running task, commands a second: {_rates(self.added, self.seconds * TASKS)}.",
            f"What scripts do for it, commands a second: {_rates(self.inside, self.seconds * TASKS)}.",
        ]


def measure(rig: Rig) -> Outcome:
    """Commands per second, and seconds until live."""
    from django.test import override_settings

    seen = Seen()
    records = Redis(rig.folder, name="records").start()
    env = {**rig.env, "DJANGO_SETTINGS_MODULE": "tests.apart_settings", "RECORDS_URL": records.url}
    try:
        with override_settings(PROGRESS_REDIS_URL=records.url):
            rows = rig.take_turns({"ours": lambda: _once(rig, records, env, seen)})
    finally:
        records.kill()
    ours = rows["ours"]
    columns = [
        Column("per task", "commands/s", "of a running task that nobody watches"),
        Column("per task, inside scripts", "commands/s", "what Redis does within them"),
        Column("per worker", "commands/s", "of an idle worker"),
        Column("live p50", "ms", "from `watch` to the first step after it"),
        Column("live max", "ms", f"the slowest of {TASKS - 1}"),
        Column("a server's first", "ms", "the same, with all that the process does once"),
        Column("CPU of that", "ms", f"of the server process in the {FIRST_LOOK:g} s from that message on"),
    ]
    bars = [
        Bar("commands per task", ours["per task"], 0.3, unit="commands/s"),
        Bar("commands per worker", ours["per worker"], 0.4, unit="commands/s"),
        Bar(f"live, the slowest of {TASKS - 1}", ours["live max"], 500, unit="ms"),
        Bar("live, a server's first", ours["a server's first"], 500, unit="ms", why=WHY_FIRST, near=_near(ours)),
    ]
    how = HOW.format(tasks=TASKS, seconds=SECONDS, rate=1 / PAUSE)
    return Outcome("A task that nobody watches", how, columns, rows, bars, notes=seen.told())


def _near(ours: Mapping[str, Sequence[float]]) -> str:
    names = ("a server's first", "CPU of that", "live p50")
    first, cpu, later = (statistics.median(ours[name]) for name in names)
    return f"{first:.0f} ms, with {cpu:.0f} ms of the server's CPU; every later one takes {later:.0f} ms, as a rule."


def _rates(counts: Counter[str], seconds: float) -> str:
    told = [f"{name} {count / seconds:.2f}" for name, count in counts.most_common() if abs(count) / seconds >= 0.005]
    return ", ".join(told) or "none"


def _once(rig: Rig, records: Redis, env: Mapping[str, str], seen: Seen) -> dict[str, float]:
    folder = rig.folder / uuid4().hex
    folder.mkdir()
    (folder / "go").touch()
    with _worker(rig, env) as worker:
        idle = _listen(records)
        ids = _start(folder)
        many = _listen(records)
        seen.add(idle, many)
        sightings, asked, cpu = _watch_each(rig, env, ids)
        (folder / "stop").touch()
        wait_until(lambda: all((folder / name).exists() for name in ids), 10, "all tasks have ended")
        if not worker.alive:
            raise RuntimeError("The worker has ended.")
    live = [_until_live(name, asked[name], sightings, _steps(folder / name)) for name in ids]
    first, later = live[0], live[1:]
    span = TASKS * SECONDS
    return {
        "per task": (ours(many).total() - ours(idle).total()) / span,
        "per task, inside scripts": (many.inside.total() - idle.inside.total()) / span,
        "per worker": ours(idle).total() / SECONDS,
        "live p50": percentile(later, 50) / 1e6,
        "live max": max(later) / 1e6,
        "a server's first": first / 1e6,
        "CPU of that": cpu * 1000,
    }


@contextmanager
def _worker(rig: Rig, env: Mapping[str, str]) -> Iterator[Worker]:
    args = ["--include", "bench.jobs", "--prefetch-multiplier", "1"]
    worker = Worker(rig.folder, env, concurrency=TASKS, args=args)
    try:
        yield worker.start()
    finally:
        worker.kill()


def _start(folder: Path) -> list[str]:
    """The ids of the tasks, all of which run."""
    from bench import jobs
    from progress.snapshot import LIVE
    from progress.store import get_store

    pace = asdict(jobs.Pace(str(folder), STEPS, PAUSE, PAUSE))
    ids = [str(jobs.paced.delay(pace).id) for _ in range(TASKS)]

    def all_run() -> bool:
        return all(record and record.state in LIVE for record in get_store().load_many(ids))

    wait_until(all_run, 60, f"{TASKS} tasks run")
    return ids


def _listen(records: Redis) -> Overheard:
    time.sleep(SETTLE)
    with Overheard(records) as heard:
        time.sleep(SECONDS)
    return heard


def ours(heard: Overheard) -> Counter[str]:
    """What was sent, without connecting."""
    return Counter({name: count for name, count in heard.outside.items() if name not in CONNECTING})


def _watch_each(rig: Rig, env: Mapping[str, str], ids: list[str]) -> tuple[list[Sighting], dict[str, int], float]:
    """Watch one task after the other; what was shown, when each was asked for (ns), the first's CPU (s)."""
    server = site(OnUvicorn, rig, "uvicorn", env)
    try:
        with Crowd() as crowd:
            crowd.open([f"{server.ws}/ws/progress/"])
            crowd.take_notes()
            asked: dict[str, int] = {}
            first, before = 0.0, server.cpu
            for name in ids:
                message = {"type": "watch", "ids": [name], "token": progress.watch_token(name)}
                asked[name] = time.monotonic_ns()
                crowd.say(message)
                time.sleep(LOOK if len(asked) > 1 else FIRST_LOOK)
                first = first or server.cpu - before
            time.sleep(LOOK)
            return crowd.notes(), asked, first
    finally:
        server.kill()


def _until_live(name: str, asked: int, sightings: list[Sighting], steps: array[int]) -> int:
    """ns from the watch to the first sight of a step that was reached after it."""
    for sighting in sightings:
        if sighting.task == name and sighting.current > 0 and steps[sighting.current - 1] > asked:
            return sighting.at - asked
    raise RuntimeError(f"{name} was never live.")


def _steps(file: Path) -> array[int]:
    """When each step was reached (ns)."""
    found = array("q")
    found.frombytes(file.read_bytes())
    return found
