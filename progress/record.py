"""The record of a task, and the rules that say which write may change it. Pure.

`apply` is the model: plain Python, checked by hypothesis, used by the memory store. `record.lua` says the same
to Redis, where it runs atomically; a test holds the two against each other. A record moves like this:

    queue ─► PENDING ─► save (first of an execution: a new fence) ─► save … ─► a final state
    verdict (the worker's main process) ends what its own execution left open, or what never started
    lost (nobody has heard of it) is no end: any later save of that fence takes it back

`seq` orders everything a reader sees; `fence` is the seq at which an execution started and is the only thing
that decides between writers; `n` orders the writes of one execution. `attempt` and `run` are for people.

Whatever a write changes about a task is counted, in the same moment, in the wholes that it is a part of: see
`workflow.py`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from typing import Any, Final

from . import snapshot
from .snapshot import FINAL, LIVE, State

UNIT: Final = 1_000_000  # the weight of a task that says nothing about it


class Status(StrEnum):
    """What became of a write."""

    ACCEPTED = "accepted"
    SAME = "same"  # already so; nothing changed
    FENCED = "fenced"  # a later execution has taken over
    ENDED = "ended"  # the run is over
    STALE = "stale"  # this execution has already written something newer
    REFUSED = "refused"  # the rules do not allow it now
    UNKNOWN = "unknown"  # there is no such record
    DAMAGED = "damaged"  # the key holds something that is no record


@dataclass(frozen=True, slots=True)
class Record:
    """One task as it is stored. Times are µs since 1970 by Redis's clock; 0 means "not yet"."""

    seq: int = 0
    exec: str = ""
    fence: int = 0
    n: int = 0
    attempt: int = 0
    run: int = 1
    state: str = State.PENDING
    control: str = ""  # who asked to cancel; "" = nobody
    watched_until: int = 0
    queued_at: int = 0
    started_at: int = 0
    updated_at: int = 0
    finished_at: int = 0
    owner: str = ""  # str(pk) of a user; "" = nobody
    tree: str = ""  # key of the workflow it belongs to: a token for that covers it
    group: str = ""  # key of the group result it is in, where that is another
    part_of: str = ""  # key of the task whose body sent it; "" = none
    weight: int = UNIT  # how much it counts among the parts of a whole
    share: int = 0  # how much of that is done; within a run it only grows
    waits: str = ""  # key of the task that must end first; "" = none
    process: str = ""  # control group of the worker process that runs it
    # Of the tasks that it sent itself: how many, how many have ended, how many of these failed, and their sums.
    parts_known: int = 0
    parts_ended: int = 0
    parts_failed: int = 0
    parts_weight: int = 0
    parts_done: int = 0
    fraction: str = ""  # "" = unknown
    # Members of the snapshot's JSON object, ready to be joined: of both views, of one, and how it ended.
    body: str = ""
    public: str = ""
    staff: str = ""
    outcome: str = ""
    outcome_staff: str = ""

    @property
    def ended(self) -> bool:
        """True in a final state. LOST and RETRY are none."""
        return self.state in FINAL

    @classmethod
    def from_hash(cls, stored: Mapping[bytes, bytes]) -> Record:
        """The record in what HGETALL returned."""
        values: dict[str, Any] = {}
        for name, convert in _FIELDS.items():
            raw = stored.get(name.encode())
            if raw is not None:
                values[name] = convert(raw)
        return cls(**values)

    def text(self, *, staff: bool = False) -> str:
        """The snapshot as JSON, in the public or the staff view, as `protocol.md` describes it."""
        head = {
            "v": snapshot.VERSION,
            "seq": self.seq,
            "attempt": self.attempt,
            "run": self.run,
            "state": str(self.state),
            "final": self.ended,
            "fraction": self._fraction(),
            "cancel_requested": bool(self.control),
            "waits_for": self.waits or None,
            "queued_at": snapshot.iso(self.queued_at),
            "started_at": snapshot.iso(self.started_at),
            "updated_at": snapshot.iso(self.updated_at),
            "finished_at": snapshot.iso(self.finished_at),
        }
        if self.parts_known:
            head["children"] = {"known": self.parts_known, "ended": self.parts_ended, "failed": self.parts_failed}
        views = (self.staff, self.outcome_staff) if staff else (self.public, self.outcome)
        members = [snapshot.encode(head)[1:-1], self.body, *views]
        return "{" + ",".join(part for part in members if part) + "}"

    def snapshot(self, *, staff: bool = False) -> dict[str, Any]:
        """The snapshot as a dict, in the public or the staff view."""
        decoded: dict[str, Any] = json.loads(self.text(staff=staff))
        return decoded

    def _fraction(self) -> float | None:
        own = float(self.fraction) if self.fraction else None
        # While its body runs it may send more, and nobody knows how many; when it is over, or goes on as another
        # task, its parts say how far the whole is.
        whole = self.parts_ended < self.parts_known and self.state in (State.SUCCESS, State.PENDING)
        if whole:
            return min(max(self.parts_done / self.parts_weight, own or 0), snapshot.ALMOST_DONE)
        return 1 if self.state == State.SUCCESS else own


_FIELDS: Final = {field.name: (int if field.type == "int" else lambda raw: raw.decode()) for field in fields(Record)}


def apply(old: Record | None, op: str, args: Mapping[str, Any], now: int) -> tuple[Status, Record | None]:
    """What `op` makes of `old` (None = no record) at the Redis time `now` (µs).

    Operations and their arguments (all may carry `seen`, the highest seq the caller knows of):

    - ``queue``: lineage, waits, again ("1" for a retry or replacement of the same id), and the texts
    - ``save``: exec, fence (0 = this execution's first write), n, age (µs since it started), state, attempt
      and run (to rebuild a lost record), lineage, process, and the texts; a final state ends the run
    - ``verdict``: exec ("" = never received), state, lineage, and the texts (kept for a lost record only)
    - ``lost``: exec; accepted only if nothing was written since `seen`
    - ``cancel``: by
    - ``watch``: span (µs from now)

    Lineage is owner, tree, group, part_of and weight.
    """
    status, new = _OPERATIONS[op](old, args, now)
    if status is Status.ACCEPTED and new is not None:
        new = replace(new, share=_share(old, new))
    return status, new


def _share(old: Record | None, new: Record) -> int:
    if new.ended:
        return new.weight
    before = old.share if old and old.run == new.run else 0
    return max(before, math.floor(new.weight * float(new.fraction or 0)))


def _next_seq(old: Record | None, args: Mapping[str, Any], now: int) -> int:
    seen: int = args.get("seen", 0)
    return max((old.seq if old else 0) + 1, seen + 1, now)


def _texts(args: Mapping[str, Any]) -> dict[str, Any]:
    return {name: args[name] for name in TEXTS if name in args}


def _lineage(args: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "owner": args.get("owner", ""),
        "tree": args.get("tree", ""),
        "group": args.get("group", ""),
        "part_of": args.get("part_of", ""),
        "weight": args.get("weight", UNIT),
    }


# The parts of a record that a writer hands over as they are.
TEXTS: Final = ("fraction", "body", "public", "staff", "outcome", "outcome_staff")


def _queue(old: Record | None, args: Mapping[str, Any], now: int) -> tuple[Status, Record | None]:
    seq = _next_seq(old, args, now)
    if old is None or (old.ended and not args.get("again")):
        # A new run takes a fence of its own, so that a late writer of the run before is refused.
        return Status.ACCEPTED, Record(
            seq=seq,
            fence=seq if old else 0,
            run=old.run + 1 if old else 1,
            watched_until=old.watched_until if old else 0,
            queued_at=now,
            updated_at=now,
            waits=args.get("waits", ""),
            **_lineage(args),
            **_texts(args),
        )
    if old.ended:
        return Status.ENDED, old
    if old.waits and not args.get("waits"):
        # A step that was declared with its workflow is now being sent; whose it is was decided then.
        return Status.ACCEPTED, replace(old, seq=seq, waits="", queued_at=now, updated_at=now, **_texts(args))
    return Status.REFUSED, old


def _save(old: Record | None, args: Mapping[str, Any], now: int) -> tuple[Status, Record | None]:
    fence, began = args["fence"], now - args.get("age", 0)
    first = fence == 0 and (old is None or old.exec != args["exec"])
    if first:
        # An execution that could not speak until now must not overtake one that started after it, nor enter the
        # run that was queued after it. A time ahead of the clock tells nothing: Redis's clock was set back. Nor
        # does the first run's queueing (no fence yet): Redis may have been told of it late.
        if old is not None and old.fence and began < max(old.started_at, old.queued_at) <= now:
            return Status.FENCED, old
        # Nobody shows somebody else's run under this owner's name by sending a task with the same id.
        if old is not None and not old.ended and old.owner != args.get("owner", ""):
            return Status.REFUSED, old
    elif old is not None:
        fence = fence or old.fence
        if fence < old.fence:
            return Status.FENCED, old
        if fence == old.fence and old.ended:
            return Status.ENDED, old
        if fence == old.fence and args["n"] <= old.n:
            return Status.STALE, old
    seq = _next_seq(old, args, now)
    base = old or Record(run=max(args.get("run", 1), 1), **_lineage(args))
    final = args["state"] in FINAL
    if first:
        base = replace(base, fence=seq, attempt=base.attempt + 1, started_at=began)
    elif base.fence != fence:
        # This execution's start was lost with the data; what it says now is whole.
        base = replace(base, fence=fence, attempt=max(args.get("attempt", 1), 1), started_at=began)
    return Status.ACCEPTED, replace(
        base,
        seq=seq,
        exec=args["exec"],
        n=args["n"],
        state=args["state"],
        waits="",
        process=args.get("process", ""),
        updated_at=now,
        finished_at=now if final else 0,
        **{"outcome": "", "outcome_staff": "", **_texts(args)},
    )


def _verdict(old: Record | None, args: Mapping[str, Any], now: int) -> tuple[Status, Record | None]:
    if old is not None:
        if old.ended:
            return Status.ENDED, old
        own = old.exec == args["exec"] != ""
        # A waiting task has no live execution; but the one that just asked for its retry is over.
        if not (own if old.state in LIVE else not own):
            return Status.FENCED, old
    final = args["state"] in FINAL
    base = old or Record(queued_at=now, **_lineage(args), **_texts(args))
    return Status.ACCEPTED, replace(
        base,
        seq=_next_seq(old, args, now),
        # Known from here on, so that its first write, should it still arrive, is recognised as late.
        exec=args["exec"] or base.exec,
        state=args["state"],
        waits="",
        updated_at=now,
        finished_at=now if final else 0,
        outcome=args.get("outcome", ""),
        outcome_staff=args.get("outcome_staff", ""),
    )


def _lost(old: Record | None, args: Mapping[str, Any], now: int) -> tuple[Status, Record | None]:
    if old is None:
        return Status.UNKNOWN, old
    unchanged = old.state in LIVE and old.exec == args["exec"] and old.seq == args["seen"]
    if not unchanged or old.state == State.LOST:
        return Status.REFUSED, old
    return Status.ACCEPTED, replace(old, seq=_next_seq(old, args, now), state=State.LOST, updated_at=now)


def _cancel(old: Record | None, args: Mapping[str, Any], now: int) -> tuple[Status, Record | None]:
    if old is None:
        return Status.UNKNOWN, old
    if old.ended:
        return Status.ENDED, old
    if old.control:
        return Status.SAME, old
    return Status.ACCEPTED, replace(old, seq=_next_seq(old, args, now), control=args["by"], updated_at=now)


def _watch(old: Record | None, args: Mapping[str, Any], now: int) -> tuple[Status, Record | None]:
    if old is None:
        return Status.UNKNOWN, old
    return Status.ACCEPTED, replace(old, watched_until=max(old.watched_until, now + args["span"]))


_OPERATIONS: Final = {
    "queue": _queue,
    "save": _save,
    "verdict": _verdict,
    "lost": _lost,
    "cancel": _cancel,
    "watch": _watch,
}
