"""The stages of one task: what each has counted, and how far they are together. No input or output.

The task itself is the outermost stage. Counting changes one attribute of one stage. Threads that count at the same
time lose nothing: CPython lets no other thread in between reading that attribute and writing it back, and a test
holds it to that. Everything rarer (beginning, ending, planning, resetting) the reporter does under a lock.

What the publisher remembers of a stage, so that it never shows less than it has shown, is in `_Seen`. It is the
publisher's alone. A task that resets tells by `resets`, which it raises last and the publisher reads first.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from . import snapshot
from .exceptions import InvalidReport

STILL_AFTER: Final = 5  # seconds beside the time that three more would take; then the rate of before is untrue
SMOOTHING: Final = 0.3  # weight of the newest sample in the rate, as tqdm has it
PLANNED: Final = 1000  # stages in one plan, at most
REMEMBERED: Final = 100  # stages within one, before the oldest ended ones are only summed up


class Standing(StrEnum):
    """Where a stage stands, as it is written on the wire."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


@dataclass(slots=True)
class _Seen:
    """What the publisher has shown of a stage since its last reset."""

    resets: int
    at: float  # when the rate was last sampled (s, monotonic), and what was done then
    done: float = 0
    current: float = 0
    rate: float | None = None


class Stage:
    """One part of a task's work, or the whole of it; may have parts of its own."""

    __slots__ = (
        *("_past", "_past_done", "_past_weight", "_seen", "began", "born", "current", "entered", "latest", "left"),
        *("loops", "name", "parts", "planned", "resets", "said", "skipped", "state", "total", "unit", "weight"),
        "within",
    )

    def __init__(self, name: str = "", weight: float = 1, within: Stage | None = None) -> None:
        self.name = name
        self.weight = weight
        self.within = within
        self.state = Standing.WAITING
        self.current: float = 0
        self.total: float | None = None
        self.unit: str | None = None  # None = that of the stage around it
        self.said = False  # the task has set the total itself; loops count towards it
        self.skipped: float = 0  # of `current`: done before this attempt, so of no account for the rate
        self.loops = 0  # that are running
        self.parts: dict[str, Stage] = {}
        self.planned = False  # the parts were announced, so their sum is the whole
        self.latest: Stage | None = None  # the part that ended last
        self.resets = 0
        self.began = time.monotonic()
        self.born: float = self.began if within is None else within.born  # when the attempt began (s, monotonic)
        self.entered: float | None = None  # when it ran first, and when it was left last; a reset changes neither
        self.left: float | None = None
        self._seen = _Seen(0, self.began)
        # Parts that are remembered by their sums only.
        self._past = 0
        self._past_weight = self._past_done = 0.0

    # --- What the task does, under its reporter's lock -----------------------------------------------------

    def begin(self) -> None:
        """It runs. One that has ended before goes on with what it has counted."""
        if self.state is Standing.WAITING:
            self.began = self.entered = time.monotonic()
        self.left = None
        self.state = Standing.RUNNING

    def end(self, standing: Standing) -> None:
        """It was left."""
        self.state = standing
        self.left = time.monotonic()
        if self.within is not None:
            self.within.latest = self

    def part(self, name: str, weight: float) -> Stage:
        """The part `name`, which joins the others if it is not one of them yet."""
        if found := self.parts.get(name):
            return found
        if len(self.parts) >= REMEMBERED:
            self._forget_oldest()
        made = self.parts[name] = Stage(name, weight, self)
        return made

    def plan(self, weights: Mapping[str, float]) -> None:
        """Announce parts. Those that are there already keep what they have counted."""
        for name, share in weights.items():
            self.part(name, share).weight = share
        self.planned = True

    def begin_loop(self, known: float | None, initial: float) -> None:
        """A loop over `known` items begins, `initial` of which were done before this attempt."""
        if not (self.said and self.total is not None and self.current < self.total):
            # Beside loops that run already there is that much more to do; after them, what is done counts.
            before = self.total if self.loops else self.current
            self.total = None if before is None or known is None else before + known
        self.loops += 1
        self.skipped += initial  # before `current`: see rate()
        self.current += initial

    def end_loop(self) -> None:
        """A loop has ended, or was left."""
        self.loops -= 1

    def clear(self) -> None:
        """Begin again at zero: no total, no parts, no plan."""
        self.current = self.skipped = 0
        self.total = self.latest = None
        self.said = self.planned = False
        self.parts = {}
        self._past = 0
        self._past_weight = self._past_done = 0.0
        self.began = time.monotonic()
        self.resets += 1

    def _forget_oldest(self) -> None:
        for name, part in self.parts.items():
            if part.state in (Standing.DONE, Standing.FAILED):
                self._past += 1
                self._past_weight += part.weight
                self._past_done += part.weight * (part._share() or 0.0)
                del self.parts[name]
                return

    # --- What the publisher asks ---------------------------------------------------------------------------

    def told(self) -> Stage:
        """The stage whose count is shown: this one, or the one that ran last in it while it has counted nothing."""
        stage = self
        while stage.total is None and not stage.current and stage.latest is not None:
            stage = stage.latest
        return stage

    def unit_shown(self) -> str:
        """Its unit, or that of the nearest stage around it that has one."""
        stage: Stage | None = self
        while stage is not None and stage.unit is None:
            stage = stage.within
        return (stage.unit if stage else None) or ""

    def shown(self) -> float:
        """What it has counted; never less than before, except after a reset."""
        resets = self.resets
        current = snapshot.number(self.current, "current")
        if self._seen.resets != resets:
            self._seen = _Seen(resets, self.began)
        self._seen.current = max(current, self._seen.current, 0)
        return self._seen.current

    def rate(self) -> float | None:
        """Units per second of late, smoothed; None before there were any, and when there have been none for long."""
        done = self.shown() - self.skipped
        seen, now = self._seen, time.monotonic()
        since = max(seen.at, self.began)
        if done > seen.done and now > since:
            sample = (done - seen.done) / (now - since)
            smooth = sample if seen.rate is None else SMOOTHING * sample + (1 - SMOOTHING) * seen.rate
            seen.rate = smooth if math.isfinite(smooth) else None
            seen.at, seen.done = now, done
        if not seen.rate or now - seen.at > STILL_AFTER + 3 / seen.rate:  # it talks, and does not count any more
            return None
        return round(seen.rate, 3)

    def fraction(self) -> float | None:
        """How far it is, 0 ≤ f < 1, or None where that is unknown.

        With a plan: the weighted sum of its parts. A part of unknown length counts once it is done; until anything
        at all is done the whole is as unknown as that part. Without a plan nobody knows what else will come, so
        only its own count tells.
        """
        if not self.planned:
            return snapshot.fraction(self.shown(), self.total)
        weight, done, unknown = self._past_weight, self._past_done, False
        for part in list(self.parts.values()):
            share = part._share()
            unknown = unknown or share is None
            weight += part.weight
            done += part.weight * (share or 0.0)
        if unknown and not done:
            return None
        return min(done / weight, snapshot.ALMOST_DONE) if weight else None

    def _share(self) -> float | None:
        if self.state is Standing.WAITING:
            return 0.0
        return 1.0 if self.state is Standing.DONE else self.fraction()

    def listed(self, room: int) -> tuple[list[dict[str, Any]], int]:
        """The stages for the snapshot, in ≤ `room` bytes of JSON with their commas, and how many are left out.

        In their order; those within a stage are listed while it runs and when it has failed. When they do not
        all fit, those farthest from where the task is are left out, those that run last of all. Where room is left,
        the nearest have their times.
        """
        found = list(self._walk(0))
        kept: dict[int, dict[str, Any]] = {}
        here = _here([part.state for _, part in found])
        running = [part.state is Standing.RUNNING for _, part in found]
        for place in sorted(range(len(found)), key=lambda place: (not running[place], abs(place - here))):
            entry = found[place][1]._entry(found[place][0])
            room -= len(snapshot.encode(entry).encode()) + 1
            if room < 0:
                break
            kept[place] = entry
        for place, entry in kept.items():
            if not (times := found[place][1]._times()):
                continue
            room -= len(snapshot.encode(times).encode()) - 1
            if room < 0:
                break
            entry.update(times)
        return [kept[place] for place in sorted(kept)], len(found) - len(kept) + self._past

    def _walk(self, depth: int) -> list[tuple[int, Stage]]:
        found = []
        for part in list(self.parts.values()):
            found.append((depth, part))
            if part.state in (Standing.RUNNING, Standing.FAILED):
                found += part._walk(depth + 1)
        return found

    def _entry(self, depth: int) -> dict[str, Any]:
        entry = {"name": self.name, "current": self.shown(), "total": self.total}
        entry |= {"weight": self.weight, "state": str(self.state), "depth": depth}
        return {name: value for name, value in entry.items() if value is not None and (name, value) != ("depth", 0)}

    def _times(self) -> dict[str, int]:
        """When it ran, in ms since the attempt began."""
        times = {"from": self.entered, "to": self.left}
        return {name: round((at - self.born) * 1000) for name, at in times.items() if at is not None}


def _here(states: list[Standing]) -> int:
    """The place of the innermost running stage; else of the last one that has begun; else the first."""
    for wanted in ({Standing.RUNNING}, {Standing.DONE, Standing.FAILED}):
        if found := [place for place, state in enumerate(states) if state in wanted]:
            return found[-1]
    return 0


def name_of(value: Any) -> str:
    """The name of a stage as it is shown: up to 80 bytes of JSON."""
    return snapshot.clip(value, snapshot.STAGE_NAME_BYTES)


def weight_of(value: Any, name: str) -> float:
    """A weight: a number above 0, and not so large that sums overflow. Raises `InvalidReport` for anything else."""
    found = snapshot.number(value, name)
    if not 0 < found <= snapshot.EXACT:
        raise InvalidReport(f"{name} must be more than 0, got {value!r}: 1 is the weight of a common stage.")
    return found


def weights_of(plan: Any) -> dict[str, float]:
    """A plan as names and weights. Raises `InvalidReport` for what is none."""
    if not isinstance(plan, Mapping):
        raise InvalidReport(f'A plan must be a mapping, got {type(plan).__name__}: pass {{"read": 3, "write": 1}}.')
    if len(plan) > PLANNED:
        raise InvalidReport(f"A plan must have ≤ {PLANNED} stages, got {len(plan)}: count them with a total instead.")
    return {name_of(name): weight_of(weight, f"The weight of stage {name!r}") for name, weight in plan.items()}
