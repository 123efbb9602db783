"""`python -m bench.startup`: how long from ``make run`` to a page that answers, the first time and later.

The first time is that of a fresh clone: environment, packages (from pip's cache), database. Exits 1 if a bar is
missed. What is not committed is not in the clone, so it is not measured.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.processes import ROOT, Server, free_port, wait_until

FIRST = 90.0  # seconds
LATER = 8.0  # seconds
LATER_RUNS = 3
GIVE_UP = 300.0  # seconds


@dataclass(frozen=True)
class Times:
    """Seconds from the command to a page that answers, and to the word that every link was tried."""

    page: float
    ready: float


class MakeRun(Server):
    """``make run`` in a clone."""

    def __init__(self, folder: Path, clone: Path) -> None:
        self.port = free_port()
        own = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG")}
        own |= {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "SSL_", "REQUESTS_"))}
        super().__init__("make-run", folder, {**own, "PORT": str(self.port), "PYTHONUNBUFFERED": "1"})
        self.cwd = clone

    def command(self) -> Sequence[str]:
        return ["make", "run"]

    def is_ready(self) -> bool:
        return "Ready in" in self.output()

    def answers(self) -> bool:
        """True if the login page comes."""
        if not self.alive:
            raise SystemExit(f"make run ended with {self.returncode}:\n{self.output()}")
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/login/", timeout=5) as answer:
                return answer.status == 200
        except OSError:
            return False

    def measure(self) -> Times:
        """Start it, note the times, stop it."""
        began = time.monotonic()
        self.start(wait=False)
        try:
            wait_until(self.answers, GIVE_UP, "a page answers")
            page = time.monotonic() - began
            self.wait_ready(GIVE_UP)
            return Times(page, time.monotonic() - began)
        finally:
            self.stop()


def main() -> int:
    """Measure and print; 1 if a bar is missed."""
    folder = Path(tempfile.mkdtemp(prefix="progress-startup-"))
    try:
        clone = folder / "clone"
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
        run = MakeRun(folder, clone)
        first = run.measure()
        later = [run.measure() for _ in range(LATER_RUNS)]
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    slowest = max(later, key=lambda times: times.page)
    print("make run, seconds to            a page that answers   every link tried      bar")
    for name, times, bar in (("first run, fresh clone", first, FIRST), ("later runs, the slowest", slowest, LATER)):
        verdict = "" if times.page <= bar else "   MISSED"
        print(f"{name:<30}{times.page:>21.1f}{times.ready:>19.1f}{bar:>9.0f}{verdict}")
    return 0 if first.page <= FIRST and slowest.page <= LATER else 1


if __name__ == "__main__":
    sys.exit(main())
