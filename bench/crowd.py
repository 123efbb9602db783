"""A crowd of browsers, in a process of their own: `bench.crowd_process` does the work."""

from __future__ import annotations

import json
import tempfile
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .led_process import LedProcess
from .rig import cpu_of


@dataclass(frozen=True, slots=True)
class Sighting:
    """One socket was shown one step of one task."""

    socket: int
    task: str
    current: int
    at: int  # ns, monotonic clock of this machine


class Crowd(LedProcess):
    """Many WebSockets. A context manager; leaving it kills them.

    Every method waits for the answer of the process and raises `RuntimeError` with what it said of a failure.
    """

    def __init__(self) -> None:
        super().__init__("crowd_process")

    @property
    def cpu(self) -> float:
        """Seconds of CPU that the crowd itself has used."""
        return cpu_of(self._process.pid)

    def open(
        self,
        urls: Sequence[str],
        *,
        say: Sequence[Sequence[Mapping[str, Any]]] = (),
        headers: Sequence[Mapping[str, str]] = (),
        at_once: int = 100,
    ) -> float:
        """Connect one socket to each of `urls`; returns the seconds until all are open.

        `say` and `headers` are taken in turn: one element for all, or one for each. 0 `at_once` is all.
        """
        words = [[json.dumps(message) for message in each] for each in say]
        answer = self._ask(
            "open", urls=list(urls), say=words, headers=[dict(each) for each in headers], at_once=at_once
        )
        if answer["failures"]:
            raise RuntimeError(f"{answer['failures']} of {len(urls)} sockets did not open: {answer['failed']}")
        return float(answer["seconds"])

    def say(self, *messages: Mapping[str, Any]) -> None:
        """Every socket says this."""
        self._ask("say", words=[json.dumps(message) for message in messages])

    def wait(self, current: int, seconds: float = 60) -> None:
        """Until every socket was shown `current`, or more. Not while notes are taken."""
        self._ask("wait", current=current, seconds=seconds)

    def wait_frames(self, each: int, seconds: float = 60) -> float:
        """Until every socket has heard so many frames; returns the seconds that it took."""
        return float(self._ask("wait_frames", each=each, seconds=seconds)["seconds"])

    def count(self) -> dict[str, int]:
        """Totals since `open`: "sockets", "frames", "bytes", "items" (snapshots) and "closed" connections."""
        found: dict[str, int] = self._ask("count")
        return found

    def take_notes(self, *, sample: int = 1) -> None:
        """From now on note when each task reached each step, at every `sample`-th socket."""
        self._ask("notes", on=True, sample=sample)

    def notes(self) -> list[Sighting]:
        """What was noted, in the order of arrival; no more notes are taken."""
        self._ask("notes", on=False, sample=1)
        with tempfile.TemporaryDirectory(prefix="progress-bench-") as folder:
            file = Path(folder) / "notes"
            names = self._ask("written", file=str(file))
            flat = array("q")
            flat.frombytes(file.read_bytes())
        rows = zip(flat[0::4], flat[1::4], flat[2::4], flat[3::4], strict=True)
        return [Sighting(socket, names[task], current, at) for socket, task, current, at in rows]

    def close(self) -> None:
        """Close every connection; the process may open others."""
        self._ask("close")

    def _ask(self, what: str, **fields: Any) -> Any:
        assert self._process.stdin
        self._process.stdin.write(json.dumps({"do": what, **fields}) + "\n")
        self._process.stdin.flush()
        answer = self._answer()
        if "error" in answer:
            raise RuntimeError(f"The crowd could not {what}: {answer['error']}")
        return answer["answer"]
