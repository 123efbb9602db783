"""Simulated workers: many tasks reported by one real publisher, in a process of their own, at a steady rate.

`Senders` is what scenarios use. The program that it starts (`python -m bench.senders`) has all tasks running, waits
for a word, takes their steps in turn and writes down when each one was due and when it was reached, so that a
scenario can say how far behind a watcher was.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from array import array
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from uuid import uuid4

from tests.processes import ROOT

from .rig import Rig, cpu_of

WATCHED_FOR = 3600.0  # seconds; longer than any run


@dataclass(frozen=True, slots=True)
class Step:
    """One step of one task. Between `due` and `at` the sender itself was late: the machine was busy."""

    task: str
    current: int
    due: int  # ns, monotonic clock of this machine
    at: int  # likewise, taken right before `advance()`


class Senders:
    """`tasks` running tasks that take `rate` steps a second each, for `seconds`. A context manager.

    Inside it all of them are stored and running, and `ids` may be watched; leaving it lets them succeed. With `busy`
    the time between two steps is spent computing, not sleeping. `interval` replaces the setting `PROGRESS_INTERVAL`.
    With `watched` they count as watched from the start: needed where only consumers listen that tell no worker. With
    `workflow` they belong to the first one's workflow, so that a token for that one shows all of them.
    """

    def __init__(
        self,
        rig: Rig,
        *,
        tasks: int,
        rate: float,
        seconds: float,
        busy: bool = False,
        watched: bool = False,
        workflow: bool = False,
        interval: float | None = None,
    ) -> None:
        name = f"bench-{uuid4().hex[:20]}"
        self.ids = [f"{name}-{number}" for number in range(tasks)]
        self._env, self._file, self._seconds = rig.env, rig.folder / f"{name}.steps", seconds
        options = {"name": name, "tasks": tasks, "rate": rate, "seconds": seconds, "out": self._file}
        self._command = [sys.executable, "-m", "bench.senders"]
        self._command += [word for option, value in options.items() for word in (f"--{option}", str(value))]
        flags = {"busy": busy, "watched": watched, "workflow": workflow}
        self._command += [f"--{flag}" for flag, wanted in flags.items() if wanted]
        self._command += [] if interval is None else ["--interval", str(interval)]

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            self._command, cwd=ROOT, env=self._env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        try:
            self._hear("running")
        except BaseException:
            self._kill()
            raise
        return self

    def __exit__(self, kind: object, *_error: object) -> None:
        try:
            if kind is None:
                self._say("end")
                self._hear("ended")
        finally:
            self._kill()

    @property
    def cpu(self) -> float:
        """Seconds of CPU that the tasks and their publisher have used."""
        return cpu_of(self._process.pid)

    def go(self) -> None:
        """Take the first steps now. Does not wait."""
        self._say("go")

    def steps(self) -> list[Step]:
        """Wait until all steps were taken; returns them in their order."""
        self._hear("done")
        flat = array("q")
        flat.frombytes(self._file.read_bytes())
        rows = zip(flat[0::4], flat[1::4], flat[2::4], flat[3::4], strict=True)
        return [Step(self.ids[task], current, due, at) for task, current, due, at in rows]

    def _say(self, word: str) -> None:
        assert self._process.stdin
        self._process.stdin.write(f"{word}\n")
        self._process.stdin.flush()

    def _hear(self, word: str) -> None:
        assert self._process.stdout
        line = self._process.stdout.readline().strip()
        if line != word:
            raise RuntimeError(f"The senders said {line!r} instead of {word!r}: {' '.join(self._command)}")

    def _kill(self) -> None:
        assert self._process.stdin
        assert self._process.stdout
        self._process.kill()
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()


# --- The program -------------------------------------------------------------------------------------------


def main() -> None:
    """Have the tasks running, take their steps when told to, end them when told to."""
    parser = argparse.ArgumentParser(prog="python -m bench.senders", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--name", default="bench", help="ids are <name>-0, <name>-1, …")
    parser.add_argument("--tasks", type=int, required=True)
    parser.add_argument("--rate", type=float, required=True, help="steps of each task per second")
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--out", type=Path, required=True, help="where the steps are written to")
    parser.add_argument("--busy", action="store_true", help="compute between two steps")
    parser.add_argument("--watched", action="store_true", help="they count as watched from the start")
    parser.add_argument("--workflow", action="store_true", help="all belong to the first one's workflow")
    parser.add_argument("--interval", type=float, help="PROGRESS_INTERVAL, in seconds")
    options = parser.parse_args()
    import django
    from django.conf import settings

    django.setup()
    if options.interval is not None:
        settings.PROGRESS_INTERVAL = options.interval
    if options.watched:  # no hub wakes them: they must not wait with their first step
        settings.PROGRESS_IDLE_INTERVAL = 0.01

    from progress.publisher import stop

    try:
        reporters = _running(options)
        _tell("running")
        if _heard("go"):
            options.out.write_bytes(_take_steps(reporters, options).tobytes())
            _tell("done")
        if _heard("end"):
            _end(reporters)
            _tell("ended")
    finally:
        stop()


def _running(options: argparse.Namespace) -> list[Any]:
    """A reporter for each task, known to the publisher and stored."""
    from progress.options import Options
    from progress.publisher import get_publisher
    from progress.reporter import Job, Reporter
    from progress.store import get_store, watch_writes

    from .running_task import wait_until

    publisher, store = get_publisher(), get_store()
    keys = [f"{options.name}-{number}" for number in range(options.tasks)]
    reporters = []
    for key in keys:
        tree = keys[0] if options.workflow else key
        job = Job(
            key=key,
            name="bench.rows",
            exec=uuid4().hex,
            options=Options(unit="rows"),
            title=f"Import {key}",
            tree=tree,
        )
        reporters.append(Reporter(job, publisher.wake))
        reporters[-1].update(current=0, total=round(options.rate * options.seconds), message="Reading rows")
        publisher.follow(reporters[-1])
    wait_until(lambda: None not in store.load_many(keys), "the publisher has stored the tasks", 60)
    for write in watch_writes(keys, WATCHED_FOR) if options.watched else ():
        store.write(write)
    return reporters


def _take_steps(reporters: list[Any], options: argparse.Namespace) -> array[int]:
    """Every task steps at the same rate, one after the other, evenly spread in time."""
    taken = array("q")  # number of the task, step, when it was due, when it was reached, …
    between, clock = 1e9 / (options.rate * len(reporters)), time.monotonic_ns
    began = clock() + 1_000_000
    for number in range(round(options.rate * options.seconds) * len(reporters)):
        due = began + round(number * between)
        if options.busy:
            while clock() < due:
                pass
        elif (early := due - clock()) > 0:
            time.sleep(early / 1e9)
        step, task = divmod(number, len(reporters))
        now = clock()
        reporters[task].advance()
        taken.extend((task, step + 1, due, now))
    return taken


def _end(reporters: list[Any]) -> None:
    """Let all of them succeed, and see that it is stored."""
    from progress.snapshot import State
    from progress.store import get_store

    from .running_task import wait_until

    for reporter in reporters:
        reporter.become(State.SUCCESS)
    keys = [reporter.job.key for reporter in reporters]

    def all_ended() -> bool:
        return all(record is not None and record.ended for record in get_store().load_many(keys))

    wait_until(all_ended, "the publisher has stored the ends", 60)


def _tell(word: str) -> None:
    print(word, flush=True)


def _heard(word: str) -> bool:
    """False when whoever asked has gone."""
    return sys.stdin.readline().strip() == word


if __name__ == "__main__":
    main()
