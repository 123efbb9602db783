"""What a server mends when it looks at the tasks that its browsers watch.

A record that Redis lost is written again within seconds by whoever runs the task. When nobody is left to do that,
what a server still shows is the only copy. It is put back with a lease that is over: whoever looks next asks the
result backend what became of the task, or presumes it lost, and any sign of life takes that back.

A record that has gone back (a replica took over that was behind) is written again by whoever runs the task. After the
end nobody does: an end that was read from the record before is put back, or it would be presumed lost.

A task waits where no worker listens: nobody else would notice, so it is written into its record.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

from . import snapshot
from .leases import Tell, tell_all
from .record import Record
from .snapshot import FINAL, LIVE, State
from .store import Write, get_store
from .watched import Copy

PATIENCE: Final = 3_000_000  # µs that a task waits before we ask whether anybody listens to its queue

# What the record itself says of a snapshot, and what only one of its views has. The rest is the body.
HEAD: Final = frozenset(json.loads(Record(state=snapshot.State.PENDING, queue="q", parts_known=1).text()))
VIEW: Final = ("meta", "worker")
OUTCOME: Final = ("error", "result")
BESIDE: Final = ("group", "part_of", "weight", "history", "exec", "fence", "n", "process", "terminable")
TIMES: Final = ("queued_at", "started_at", "updated_at", "finished_at")


async def bring_back(gone: Iterable[Copy], gone_back: Iterable[Copy], tell: Tell) -> None:
    """Put back the records of which these were shown: running tasks whose record is gone, and ended ones whose record
    has gone back to a time before the end. Raises `StoreUnavailable`.
    """
    writes = [write for each in gone if (write := restoration(each)).args["state"] in LIVE]
    writes += [write for each in gone_back if (write := restoration(each)).args["state"] in FINAL]
    if writes:
        await tell_all(writes, await get_store().awrite_many(writes), tell)


async def say_who_listens(heads: Mapping[str, Record], now: int, tell: Tell) -> None:
    """Write down for each waiting task whether any worker listens to its queue, `now` being Redis's time (µs).

    Raises `StoreUnavailable`.
    """
    waiting = {
        key: head
        for key, head in heads.items()
        if head.state == State.PENDING and head.queue and not head.waits and now - head.queued_at > PATIENCE
    }
    listened = await get_store().alistened(sorted({head.queue for head in waiting.values()}))
    unserved = {key: int(head.queue not in listened) for key, head in waiting.items()}
    changed = [key for key, value in unserved.items() if value != waiting[key].unserved]
    if writes := [Write("unserved", key, {"value": unserved[key]}) for key in changed]:
        await tell_all(writes, await get_store().awrite_many(writes), tell)


def restoration(copy: Copy) -> Write:
    """The write that brings the record back of which this was shown."""
    public, staff = json.loads(copy.shown.public), json.loads(copy.shown.staff)
    fraction = public.get("fraction")
    body = {name: value for name, value in public.items() if name not in {*HEAD, *VIEW, *OUTCOME}}
    # What a look has found beside it: whose execution it was. Of another attempt that says nothing.
    same = copy.head.attempt == public["attempt"]
    head = copy.head if same else replace(copy.head, exec="", fence=0, n=0, process="")
    return Write(
        "restore",
        copy.shown.key,
        {
            "seen": copy.shown.seq,
            "state": public["state"],
            "owner": copy.shown.claim.owner,
            "tree": copy.shown.claim.tree,
            "attempt": public["attempt"],
            "run": public["run"],
            **{name: getattr(head, name) for name in BESIDE},
            **{name: _microseconds(public.get(name)) for name in TIMES},
            "fraction": "" if fraction is None or public["final"] else repr(fraction),
            "body": _members(body, body),
            "public": _members(public, VIEW),
            "staff": _members(staff, VIEW),
            "outcome": _members(public, OUTCOME),
            "outcome_staff": _members(staff, OUTCOME),
        },
    )


def _members(told: Mapping[str, Any], names: Iterable[str]) -> str:
    return snapshot.encode({name: told[name] for name in names if name in told})[1:-1]


def _microseconds(moment: str | None) -> int:
    return 0 if moment is None else int(dt.datetime.fromisoformat(moment).timestamp() * 1_000_000)
