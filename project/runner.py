"""Several programs as one: a line prefix and a log file each, one ends, all end. honcho does the work.

What is added to honcho: a program counts as ended when its main process has, even while children still hold its
output open; its children end with it; Redis leaves last, so that the others can finish; nothing outlives the
runner, not even when the runner is killed.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess  # nosec B404 # each call says why it may
import threading
import time
from collections.abc import Sequence
from functools import partial
from multiprocessing import parent_process
from pathlib import Path
from typing import Any, Final

from honcho.manager import Manager
from honcho.process import Process

GRACE: Final = 4.0  # seconds that programs get to finish, jobs included, before they are killed
LAST_GRACE: Final = 2.0  # seconds for Redis to write down what it has
BEAT: Final = 0.1  # seconds between two looks


class Program(Process):  # type: ignore[misc] # honcho is untyped
    """One program, run in a process of its own that watches it."""

    def __init__(self, cmd: str, *, logs: Path, **options: Any) -> None:
        super().__init__(cmd, **options)
        self._log = logs / f"{self.name}.log"

    def run(self, events: Any = None, ignore_signals: bool = False) -> None:
        """Start it and pass on its lines until its main process ends. Called by honcho, in a new process."""
        self._events = events
        child = self._child_ctor(self.cmd, env=self.env, cwd=self.cwd)
        self._send_message({"pid": child.pid}, type="start")
        if ignore_signals:  # after the child has its own; the runner decides what to send to the program
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        reader = threading.Thread(target=self._read, args=(child.stdout,), daemon=True)
        reader.start()
        while child.poll() is None:
            if (runner := parent_process()) is not None and not runner.is_alive():
                _end(child)
                os._exit(1)  # nobody is left to be told, and the queue would wait for a reader
            time.sleep(BEAT)
        _signal_group(child.pid, signal.SIGKILL)  # pool children of a killed worker, for instance
        reader.join(1)
        self._send_message({"returncode": child.returncode}, type="stop")

    def _read(self, lines: Any) -> None:
        with self._log.open("wb") as log:
            for line in iter(lines.readline, b""):
                log.write(line)
                log.flush()
                self._send_message(line)


class Runner(Manager):  # type: ignore[misc] # honcho is untyped
    """Runs programs until one of them ends or somebody stops it, then ends all of them within 10 s.

    `last` names the program that the others need while they finish.
    """

    def __init__(self, logs: Path, last: str) -> None:
        super().__init__()
        self._process_ctor = partial(Program, logs=logs)
        self._last = last

    def add(self, name: str, command: Sequence[str], env: dict[str, str], cwd: Path) -> None:
        """Add a program. `exec`: the pid that honcho knows is the program's own, not that of a shell."""
        self.add_process(name, f"exec {shlex.join(command)}", env=env, cwd=str(cwd))

    def run(self) -> int:
        """Run everything; the answer is the exit status: 130 and 143 for signals, else never 0."""
        self.loop()
        # A program that ended by itself is a failure of the whole, whatever it thought of it.
        status = self.returncode or 1
        return status if status > 0 else 128 - status

    def fail(self) -> None:
        """End everything, with status 1. May be called from any thread."""
        self.returncode = self.returncode or 1
        self.terminate()

    @property
    def started(self) -> bool:
        """True once every program has its process. Before that, start nothing else in this process.

        honcho forks, and what it forks would keep the pipe open on which `subprocess` waits for an exec.
        """
        return bool(self._all_started())

    @property
    def ending(self) -> bool:
        """True once the end has begun."""
        return bool(self._terminating)

    def terminate(self) -> None:
        """Begin the end: everybody is asked, then killed; `last` is asked when the others are gone."""
        if not self._terminating:
            self._terminating = True
            threading.Thread(target=self._end_in_order, daemon=True).start()

    def kill(self) -> None:
        """Kill what is left, children included."""
        for program in self._processes.values():
            if "pid" in program and "returncode" not in program:
                _signal_group(program["pid"], signal.SIGKILL)

    def _end_in_order(self) -> None:
        # Before that honcho does not know every pid, and who is not known cannot be ended.
        _wait_for(self._all_started, GRACE)
        others = [name for name in self._processes if name != self._last]
        for name in others:
            self._ask(name)
        _wait_for(lambda: all("returncode" in self._processes[name] for name in others), GRACE)
        self._ask(self._last)
        _wait_for(self._all_stopped, LAST_GRACE)
        self.kill()

    def _ask(self, name: str) -> None:
        program = self._processes.get(name, {})
        if "pid" in program and "returncode" not in program:
            # The main process alone: a worker lets its children finish what they do.
            with contextlib.suppress(ProcessLookupError):
                os.kill(program["pid"], signal.SIGTERM)


def _end(child: subprocess.Popen[bytes]) -> None:
    child.terminate()
    try:
        child.wait(GRACE)
    except subprocess.TimeoutExpired:
        child.kill()
    _signal_group(child.pid, signal.SIGKILL)


def _signal_group(pgid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pgid, number)


def _wait_for(condition: Any, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(BEAT)
