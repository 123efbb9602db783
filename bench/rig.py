"""What every scenario stands on: a Redis of its own, the environment of its servers, repetitions that take turns."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.processes import Redis

from .figures import Rows, transposed

TICKS = os.sysconf("SC_CLK_TCK")  # per second, the unit of /proc/<pid>/stat
PREFIX = "bench"
KEPT = ("PATH", "HOME", "LANG", "TMPDIR")  # of who asks: a setting of his must not change what is measured


@dataclass(frozen=True, slots=True)
class Rig:
    """One run of one scenario."""

    folder: Path
    redis: Redis
    env: Mapping[str, str]  # of the servers
    repetitions: int

    def take_turns(self, sides: Mapping[str, Callable[[], Mapping[str, float]]]) -> Rows:
        """Run every side once per repetition, in turn, so that a busy moment of the machine hits all alike.

        Who begins changes from repetition to repetition.
        """
        found: dict[str, list[Mapping[str, float]]] = {name: [] for name in sides}
        names = list(sides)
        for number in range(self.repetitions):
            first = number % len(names)
            for name in names[first:] + names[:first]:
                began = time.monotonic()
                found[name].append(sides[name]())
                self.say(f"{number + 1}/{self.repetitions} {name}", found[name][-1], time.monotonic() - began)
        return {name: transposed(each) for name, each in found.items()}

    def say(self, what: str, found: Mapping[str, float], seconds: float) -> None:
        """One line for who waits."""
        figures = ", ".join(f"{name} {value:.4g}" for name, value in found.items())
        print(f"  {what}: {figures} ({seconds:.1f} s)", file=sys.stderr, flush=True)


@contextmanager
def rig(repetitions: int) -> Iterator[Rig]:
    """A rig, with Django set up in this process against the same Redis. One per process."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    signal.signal(signal.SIGTERM, lambda *_signal: sys.exit(1))  # else whoever is told to end leaves servers behind
    folder = Path(tempfile.mkdtemp(prefix="progress-bench-"))
    redis = Redis(folder)
    try:
        redis.start()
        own = {
            "DJANGO_SETTINGS_MODULE": "bench.settings",
            "DATA_DIR": str(folder / "data"),
            "REDIS_URL": redis.url,
            "PROGRESS_PREFIX": PREFIX,
            "SECRET_KEY": os.urandom(20).hex(),
            "LOG_LEVEL": "WARNING",
        }
        for name in os.environ.keys() - {*KEPT}:
            del os.environ[name]
        os.environ.update(own)
        import django

        django.setup()
        yield Rig(folder, redis, dict(os.environ), repetitions)
    finally:
        redis.kill()
        shutil.rmtree(folder, ignore_errors=True)


def cpu_of(pid: int) -> float:
    """Seconds of CPU, user and system, that a process has used. It does not count its children."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def memory_of(pid: int) -> int:
    """Bytes of memory that a process alone has: proportional set size."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


def wait_until_quiet(pid: int, seconds: float = 60) -> None:
    """Wait until a process has nothing left to do. Raises `RuntimeError`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        before = cpu_of(pid)
        time.sleep(0.5)
        if cpu_of(pid) - before < 0.05:
            return
    raise RuntimeError(f"Process {pid} did not come to rest within {seconds} s.")
