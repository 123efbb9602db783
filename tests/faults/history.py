"""What happened, and what was shown of it. Times are `time.monotonic()`, which all processes of a machine share."""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Seen:
    """A snapshot as one client would show it."""

    at: float
    watcher: str
    id: str
    seq: int
    run: int
    attempt: int
    state: str
    final: bool
    fraction: float | None = None
    message: str = ""
    cancel_requested: bool = False


@dataclass(frozen=True, slots=True)
class Fault:
    """Something was broken for a while."""

    name: str
    began: float
    healed: float


@dataclass(slots=True)
class Execution:
    """What a task's body did, by its own word. `stopped` is 0 while it runs, or when it was killed."""

    id: str
    exec: str
    started: float
    stopped: float = 0.0
    end: str = ""  # the state in which it meant to end
    slowest: float = 0.0  # of its calls of ours
    overslept: float = 0.0  # seconds by which its pauses were too long: the machine stood still


@dataclass(slots=True)
class History:
    """Everything that a checker needs to know about one part of a run."""

    executions: dict[str, list[Execution]] = field(default_factory=dict)  # of each task, in order
    seen: list[Seen] = field(default_factory=list)  # in order
    faults: list[Fault] = field(default_factory=list)
    sent: list[str] = field(default_factory=list)  # tasks that must have run
    watches: dict[str, set[str]] = field(default_factory=dict)  # what each client watches
    gone: set[tuple[str, str]] = field(
        default_factory=set
    )  # client and task: it is told that there is none (any more)

    def save(self, folder: Path) -> None:
        """Write down what was shown and what was broken, for whoever looks for the reason of a miss."""
        for name, lines in (("seen", self.seen), ("faults", self.faults)):
            (folder / f"{name}.jsonl").write_text("".join(json.dumps(asdict(each)) + "\n" for each in lines))


def note(path: str, **fields: Any) -> None:
    """Append one line to the file of what truly happened; it is there when this returns, whatever comes next."""
    line = json.dumps({"at": time.monotonic(), **fields}) + "\n"
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(file, line.encode())
    finally:
        os.close(file)


class Notes:
    """What the tasks have noted so far. Reading again costs only what is new."""

    def __init__(self, path: Path) -> None:
        self._path, self._read = path, 0
        self._by_name: dict[str, Execution] = {}
        self._by_task: dict[str, list[Execution]] = {}

    def executions(self) -> dict[str, list[Execution]]:
        """Of each task, in the order in which they began."""
        if self._path.exists():
            with self._path.open("rb") as file:
                file.seek(self._read)
                for line in file:
                    if line.endswith(b"\n"):
                        self._read += len(line)
                        self._take(json.loads(line))
        return self._by_task

    def _take(self, told: dict[str, Any]) -> None:
        if told["what"] == "start":
            one = self._by_name[told["exec"]] = Execution(told["id"], told["exec"], told["at"])
            self._by_task.setdefault(one.id, []).append(one)
        elif stopped := self._by_name.get(told["exec"]):
            stopped.stopped, stopped.end = told["at"], told["end"]
            stopped.slowest, stopped.overslept = told.get("slowest", 0.0), told.get("overslept", 0.0)


def executions(path: Path) -> dict[str, list[Execution]]:
    """What the tasks noted, by task, in the order in which they began."""
    return Notes(path).executions()
