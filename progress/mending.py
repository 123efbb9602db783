"""What a server mends when it looks at the tasks that its browsers watch.

A record that Redis lost is written again within seconds by whoever runs the task. When nobody is left to do that,
what a server still shows is the only copy: it is put back, as presumed lost, and any sign of life takes that back.

A task waits where no worker listens: nobody else would notice, so it is written into its record.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

from . import snapshot
from .leases import Tell, tell_all
from .outbox import Shown
from .record import Record
from .snapshot import LIVE, State
from .store import Write, get_store

PATIENCE: Final = 3_000_000  # µs that a task waits before we ask whether anybody listens to its queue

# What the record itself says of a snapshot, and what only one of its views has. The rest is the body.
HEAD: Final = frozenset(json.loads(Record(state=snapshot.State.PENDING, queue="q", parts_known=1).text()))
VIEW: Final = ("meta", "worker")


async def bring_back(gone: Iterable[Shown], tell: Tell) -> None:
    """Put back the records of which these were shown. Raises `StoreUnavailable`."""
    if writes := [write for shown in gone if (write := restoration(shown))]:
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


def restoration(shown: Shown) -> Write | None:
    """The write that brings the record back of which this was shown; None if it was not running."""
    public, staff = json.loads(shown.public), json.loads(shown.staff)
    if public["state"] not in LIVE:
        return None
    fraction = public.get("fraction")
    body = {name: value for name, value in public.items() if name not in HEAD and name not in VIEW}
    return Write(
        "restore",
        shown.key,
        {
            "seen": shown.seq,
            "owner": shown.claim.owner,
            "tree": shown.claim.tree,
            "attempt": public["attempt"],
            "run": public["run"],
            "live_state": public["state"],
            **{name: _microseconds(public.get(name)) for name in ("queued_at", "started_at", "updated_at")},
            "fraction": "" if fraction is None else repr(fraction),
            "body": _members(body),
            "public": _members({name: public[name] for name in VIEW if name in public}),
            "staff": _members({name: staff[name] for name in VIEW if name in staff}),
        },
    )


def _members(told: Mapping[str, Any]) -> str:
    return snapshot.encode(told)[1:-1]


def _microseconds(moment: str | None) -> int:
    return 0 if moment is None else int(dt.datetime.fromisoformat(moment).timestamp() * 1_000_000)
