"""Simulated workers: processes that hold very many running tasks, so many as they are told to.

Each is what a worker with a pool of threads is to Redis: one publisher for all its tasks, one connection, and beside
them what a worker's main process does: signs of life for all that it runs, and a look for lost tasks every second. No
Celery, and no broker. `Fleet` is what scenarios use; `python -m bench.many_reporters NAME` is one of the processes.
"""

from __future__ import annotations

import select
import subprocess
import sys
import time
from io import RawIOBase
from typing import Any, Final, Self
from uuid import uuid4

from tests.processes import ROOT, wait_until

from .rig import PREFIX, Rig, cpu_of

TICK: Final = 0.05  # seconds between two rounds of steps
ROUNDS: Final = 20  # every task takes one step in so many rounds
OWNERS: Final = 1000  # to whom the tasks belong


class Fleet:
    """Worker processes that share `size` running tasks. A context manager.

    Each task takes a step a second, or none at all with `still`: then it only lives.
    """

    def __init__(self, rig: Rig, processes: int, *, still: bool = False) -> None:
        self._rig, self.size, self._still = rig, 0, still
        self._names = [f"bench-{uuid4().hex[:12]}" for _ in range(processes)]
        self._processes: list[subprocess.Popen[str]] = []
        self._client = rig.redis.client(socket_timeout=60)

    def __enter__(self) -> Self:
        try:
            for name in self._names:
                command = [sys.executable, "-m", "bench.many_reporters", name, *(["still"] if self._still else [])]
                process = subprocess.Popen(command, cwd=ROOT, env=self._rig.env, stdin=subprocess.PIPE, text=True)
                self._processes.append(process)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_error: object) -> None:
        for process in self._processes:
            assert process.stdin
            process.kill()
            process.stdin.close()
            process.wait()
        self._client.close()

    @property
    def cpu(self) -> float:
        """Seconds of CPU that all of them have used."""
        return sum(cpu_of(process.pid) for process in self._processes)

    @property
    def running(self) -> int:
        """How many tasks are running by what Redis knows, and have promised a sign of life."""
        return int(self._client.zcard(f"{PREFIX}:leases"))

    def hold(self, size: int) -> None:
        """Have so many tasks running, shared out evenly. Returns when all are stored; what has ended stays."""
        share = size // len(self._processes)
        for process in self._processes:
            assert process.stdin
            process.stdin.write(f"{share}\n")
            process.stdin.flush()
        self.size = share * len(self._processes)
        wait_until(lambda: self.running == self.size, 120, f"{self.size} tasks run")

    def ids(self, number: int) -> list[str]:
        """The ids of some of the running tasks, from all processes alike."""
        found = [task_id(name, place) for place in range(self.size // len(self._names)) for name in self._names]
        return found[:number]

    def silent_for(self) -> list[float]:
        """Seconds since each running task was last stored, the shortest first."""
        pipe = self._client.pipeline(transaction=False)
        for name in self.ids(self.size):
            pipe.hget(f"{PREFIX}:task:{name}", "updated_at")
        seconds, micro = self._client.time()
        now = seconds * 1_000_000 + micro
        return sorted((now - int(at or 0)) / 1e6 for at in pipe.execute())


def task_id(process: str, number: int) -> str:
    """The id of the task with a number among those of a process."""
    return f"{process}-{number}"


# --- The program -------------------------------------------------------------------------------------------


class Held:
    """The tasks that run in this process."""

    def __init__(self, name: str, publisher: Any) -> None:
        self.name, self.publisher = name, publisher
        self.reporters: list[Any] = []

    def hold(self, number: int) -> None:
        """Begin tasks, or end the newest, until so many run."""
        from progress.options import Options
        from progress.reporter import Job, Reporter
        from progress.snapshot import State

        while len(self.reporters) > number:
            self.reporters.pop().become(State.SUCCESS)
        for place in range(len(self.reporters), number):
            key = task_id(self.name, place)
            job = Job(
                *(key, "bench.rows", uuid4().hex, Options(unit="rows")),
                title=f"Import rows-{place}.csv",
                owner=str(place % OWNERS + 1),
                tree=key,
                worker=f"{self.name}@bench",
            )
            reporter = Reporter(job, self.publisher.wake)
            reporter.update(total=100_000, message="Reading rows")
            self.reporters.append(reporter)
            self.publisher.follow(reporter)

    def executions(self) -> list[Any]:
        """What a worker's main process renews."""
        from progress.leases import Held as Execution

        return [Execution(reporter.job.key, reporter.job.exec) for reporter in list(self.reporters)]


def main(name: str, *how: str) -> None:
    """Step on, and hold as many tasks as the newest line of standard input says, until that ends."""
    import django

    django.setup()
    from progress import publisher
    from progress.leases import Reaper, keep

    bridge = publisher.get_publisher()
    held = Held(name, bridge)
    bridge.run(lambda tell: keep(held.executions, lambda: [name], Reaper(tell, lambda _key, _record: None)))
    try:
        with open(sys.stdin.fileno(), "rb", buffering=0, closefd=False) as told:  # `select` sees no buffer
            _step_on(held, told, still="still" in how)
    finally:
        publisher.stop()


def _step_on(held: Held, told: RawIOBase, *, still: bool) -> None:
    number, due = 0, time.monotonic()
    while True:
        if select.select([told], [], [], max(due - time.monotonic(), 0))[0]:
            if not (line := told.readline()):
                return
            held.hold(int(line))
        if time.monotonic() >= due:
            for reporter in () if still else held.reporters[number % ROUNDS :: ROUNDS]:
                reporter.advance()
            number, due = number + 1, due + TICK


if __name__ == "__main__":
    main(*sys.argv[1:])
