"""The rules that say which write may change a record, and how. Pure.

`apply` is the model: plain Python, checked by hypothesis, used by the memory store. `record.lua` says the same
to Redis, where it runs atomically; a test holds the two against each other. A record moves like this:

    queue ─► PENDING ─► save (first of an execution: a new fence) ─► save … ─► a final state
    verdict (the worker's main process) ends what its own execution left open, or what never started
    lost (its lease ran out) is no end: any later save or renewal by that execution takes it back

`seq` orders everything a reader sees; `fence` is the seq at which an execution started and is the only thing
that decides between writers; `n` orders the writes of one execution. `attempt` and `run` are for people.

Whatever a write changes about a task is counted, in the same moment, in the wholes that it is a part of: see
`workflow.py`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from .record import TEXTS, UNIT, Record, Status
from .snapshot import FINAL, LIVE, State


def apply(old: Record | None, op: str, args: Mapping[str, Any], now: int) -> tuple[Status, Record | None]:
    """What `op` makes of `old` (None = no record) at the Redis time `now` (µs).

    Operations and their arguments (all may carry `seen`, the highest seq the caller knows of):

    - ``queue``: lineage, sent, queue, waits, again ("1" for a retry or replacement of the same id), and the texts
    - ``save``: exec, fence (0 = this execution's first write), n, age (µs since it started), state, attempt
      and run (to rebuild a lost record), lineage, sent, process, terminable, lease (µs; 0 = no sign of life is
      promised), and the texts; a final state ends the run
    - ``verdict``: exec ("" = never received), state, lineage, and the texts (kept for a lost record only)
    - ``renew``: exec, lease; it lives, and has nothing to say
    - ``lost``: exec, lease (µs that were promised each time); accepted only when its lease has run out
    - ``restore``: what a server still shows, where the record is gone (as it was, its lease over) or has gone back
      behind an end (state: that end): state, attempt, run, queued_at, started_at, updated_at, finished_at, the texts,
      and for a record that is gone lineage, exec, fence, n, process and terminable
    - ``unserved``: value (1 or 0); whether a worker listens to the queue in which it waits
    - ``cancel``: by
    - ``watch``: span (µs from now)

    Lineage is owner, tree, group, part_of, weight and history.
    """
    status, new = _OPERATIONS[op](old, args, now)
    if status is Status.ACCEPTED and new is not None:
        new = replace(new, share=_share(old, new))
    return status, new


def is_told(op: str, old: Record | None, new: Record) -> bool:
    """True if the recorder is to hear of an accepted write: of everything but how far a task is."""
    told = ("state", "run", "attempt", "control")
    changed = old is None or any(getattr(old, name) != getattr(new, name) for name in told)
    return bool(new.history) and (op == "queue" or changed)


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
        "history": args.get("history", 0),
    }


def _queue(old: Record | None, args: Mapping[str, Any], now: int) -> tuple[Status, Record | None]:
    seq = _next_seq(old, args, now)
    if old is not None and old.sent == args.get("sent", "") != "" and not args.get("again"):
        # This very message has a record already: a worker was quicker than a Redis that stalled.
        return Status.SAME, old
    # Whoever sends a task again that was presumed lost begins anew; what was lost cannot come back beside it.
    given_up = old is not None and old.state == State.LOST and old.owner == args.get("owner", "") and args.get("sent")
    if old is None or ((old.ended or given_up) and not args.get("again")):
        # A new run takes a fence of its own, so that a late writer of the run before is refused.
        return Status.ACCEPTED, Record(
            seq=seq,
            fence=seq if old else 0,
            run=old.run + 1 if old else 1,
            watched_until=old.watched_until if old else 0,
            queued_at=now,
            updated_at=now,
            waits=args.get("waits", ""),
            sent=args.get("sent", ""),
            queue=args.get("queue", ""),
            **_lineage(args),
            **_texts(args),
        )
    if old.ended:
        return Status.ENDED, old
    if old.waits and not args.get("waits"):
        # A step that was declared with its workflow is now being sent; whose it is was decided then.
        sent = {"sent": args.get("sent", ""), "queue": args.get("queue", "")}
        return Status.ACCEPTED, replace(old, seq=seq, waits="", queued_at=now, updated_at=now, **sent, **_texts(args))
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
        if old is not None and old.owner != args.get("owner", ""):
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
        terminable=args.get("terminable", 0),
        sent=args.get("sent", "") or base.sent,
        unserved=0,
        leased_until=_leased(args, now) if args["state"] in LIVE else 0,
        live_state="",
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
        unserved=0,
        leased_until=0,
        live_state=base.state if args["state"] == State.LOST and base.state in LIVE else "",
        updated_at=now,
        finished_at=now if final else 0,
        outcome=args.get("outcome", ""),
        outcome_staff=args.get("outcome_staff", ""),
    )


def _leased(args: Mapping[str, Any], now: int) -> int:
    lease: int = args.get("lease", 0)
    return now + lease if lease else 0


def _renew(old: Record | None, args: Mapping[str, Any], now: int) -> tuple[Status, Record | None]:
    if old is None:
        return Status.UNKNOWN, old
    if old.exec != args["exec"]:
        return Status.FENCED, old
    if old.state not in LIVE:
        return Status.REFUSED, old
    renewed = replace(old, leased_until=_leased(args, now))
    if old.state == State.LOST:
        seq = _next_seq(old, args, now)
        alive: dict[str, Any] = {
            "state": old.live_state or State.STARTED,
            "live_state": "",
            "outcome": "",
            "outcome_staff": "",
        }
        renewed = replace(renewed, seq=seq, **alive)
    return Status.ACCEPTED, renewed


def _lost(old: Record | None, args: Mapping[str, Any], now: int) -> tuple[Status, Record | None]:
    if old is None:
        return Status.UNKNOWN, old
    over = 0 < old.leased_until <= now and old.state in LIVE and old.state != State.LOST
    if not over or old.exec != args["exec"]:
        return Status.REFUSED, old
    heard = old.leased_until - args.get(
        "lease", old.leased_until
    )  # the last sign of life, which was not written down
    return Status.ACCEPTED, replace(
        old,
        seq=_next_seq(old, args, now),
        state=State.LOST,
        live_state=old.state,
        leased_until=0,
        updated_at=max(old.updated_at, heard),
    )


def _restore(old: Record | None, args: Mapping[str, Any], now: int) -> tuple[Status, Record | None]:
    # What is there is older than an end that was read from it before: a replica has taken over that was behind.
    went_back = old is not None and old.seq < args["seen"] and old.run == args["run"] and not old.ended
    if old is not None and not (went_back and args["state"] in FINAL):
        return Status.REFUSED, old
    kept = [*_KEPT_OF_RUN] if old is not None else [*_KEPT_OF_RUN, *_KEPT_OF_LOST]
    told = {name: args[name] for name in kept if name in args}
    # Nobody has promised a sign of life since: whoever looks next asks what became of it.
    runs = args["state"] in LIVE and args["state"] != State.LOST
    fresh: dict[str, Any] = {"leased_until": now if runs else 0, "live_state": "", "unserved": 0, "waits": ""}
    base = replace(old or Record(), seq=_next_seq(old, args, now), state=args["state"], **fresh | told)
    return Status.ACCEPTED, replace(base, **_texts(args))


_KEPT_OF_RUN: Final = ("attempt", "run", "queued_at", "started_at", "updated_at", "finished_at")
_KEPT_OF_LOST: Final = (
    *("owner", "tree", "group", "part_of", "weight", "history"),
    *("exec", "fence", "n", "process", "terminable"),
)


def _unserved(old: Record | None, args: Mapping[str, Any], now: int) -> tuple[Status, Record | None]:
    if old is None:
        return Status.UNKNOWN, old
    if old.state != State.PENDING or old.waits:
        return Status.REFUSED, old
    if old.unserved == args["value"]:
        return Status.SAME, old
    return Status.ACCEPTED, replace(old, seq=_next_seq(old, args, now), unserved=args["value"])


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
    "renew": _renew,
    "lost": _lost,
    "restore": _restore,
    "unserved": _unserved,
    "cancel": _cancel,
    "watch": _watch,
}
