"""Writes as calls of the scripts that carry them out, and answers as these give them. No input or output.

`record.lua` decides any write; shortcuts do what needs no decision. Nine tenths of what a write costs Redis is Lua
setting up the rules, and everybody waits for that one thread. Most writes are a task that is sent for the first time
(`queue.lua`), and, many in one call, steps of tasks that run (`step.lua`), signs of life (`beat.lua` and `renew.lua`)
and looks at tasks that stand still (`watch.lua`). Each makes sure that there is nothing to decide, and leaves the
write to `record.lua` where there is.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from importlib.resources import files
from typing import Any, Final, NamedTuple

from . import listeners, record
from .conf import conf
from .record import UNIT, Record, Status
from .snapshot import State, encode
from .store import LIVE_LIFETIME, MINE_LIMIT, Answer, Expired, Write

FORGOTTEN_LIFETIME: Final = 600  # seconds; ended, and nobody owned or watched it
AT_ONCE: Final = 200  # signs of life, or looks, in one call: about a millisecond of Redis's time
STEPS_AT_ONCE: Final = 50  # likewise
# A worker's main leaves alone what was signed for within this (µs). So two signs may be this and a beat apart.
# A lease has eleven seconds more: ten in which nobody can sign, and one until it is tried again. See `leases.py`.
FRESH: Final = 1_500_000

# Of a task that is sent for the first time: what is stored as it is said, and what the rules have to see.
AS_SAID: Final = ("owner", "tree", "sent", "queue", "history", *record.TEXTS)
DECIDED: Final = ("group", "part_of", "waits", "again", "seen", "fraction")


class Script(NamedTuple):
    """A script, and Redis's name of it."""

    text: str
    sha: str

    @classmethod
    def load(cls, name: str) -> Script:
        """The script in the file `name`."""
        text = files("progress").joinpath(name).read_text()
        return cls(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


RECORD, STEP, BEAT, RENEW, WATCH, QUEUE = (
    Script.load(f"{name}.lua") for name in ("record", "step", "beat", "renew", "watch", "queue")
)


class Call(NamedTuple):
    """One call of a script, and which of the writes it carries out."""

    script: Script
    arguments: Sequence[Any]  # number of keys, keys, arguments
    writes: Sequence[int]


class Calls:
    """The calls for the records with one prefix in the Redis at one URL."""

    def __init__(self, url: str, prefix: str) -> None:
        self.url = url
        self.prefix = prefix

    def of(self, writes: Sequence[Write]) -> Iterator[Call]:
        """All of `writes`, by shortcuts where these may do."""
        together = dict[tuple[Script, int], list[int]]()  # by what they promise, too
        for index, write in enumerate(writes):
            if shared := _shared(write):
                together.setdefault(shared, []).append(index)
            else:
                yield self._alone(write, index)
        for (script, promised), indexes in together.items():
            at_once = STEPS_AT_ONCE if script is STEP else AT_ONCE
            for first in range(0, len(indexes), at_once):
                some = indexes[first : first + at_once]
                yield Call(script, self._arguments(script, [writes[index] for index in some], promised), some)

    def of_one(self, write: Write) -> Call:
        """One write, by a shortcut where one may do: signs of life and looks have theirs for the sake of many."""
        if write.op in ("renew", "watch"):
            return self.decided(write)
        (call,) = self.of([write])
        return call

    def _alone(self, write: Write, index: int) -> Call:
        if _is_alone(write):
            return Call(QUEUE, self._queue(write), [index])
        return self.decided(write, index)

    def decided(self, write: Write, index: int = 0) -> Call:
        """One write, by the rules."""
        given = {name: value for name, value in write.args.items() if value != "" or name in record.TEXTS}
        retention = conf.PROGRESS_RETENTION
        given["ttl_live"], given["ttl_ended"] = LIVE_LIFETIME, retention
        given["ttl_forgotten"], given["mine_limit"] = min(FORGOTTEN_LIFETIME, retention), MINE_LIMIT
        if conf.PROGRESS_RECORDER:
            given["changes_max"] = conf.PROGRESS_HISTORY_BACKLOG
        if write.op in ("queue", "save"):
            given["channel"] = listeners.channel_of(write.key, self.url)
        return Call(RECORD, (1, self._record(write), write.op, encode(given)), [index])

    def beat(
        self, renewals: Sequence[Write], lease: int, queues: Sequence[str] = (), limit: int = 0
    ) -> Sequence[Any]:
        """The arguments of signs of life that promise the next one within `lease` µs."""
        keys = (f"{self.prefix}:leases", f"{self.prefix}:queues")
        return 2, *keys, lease, LIVE_LIFETIME, FRESH, limit, len(queues), *queues, *_executions(renewals)

    def _arguments(self, script: Script, writes: Sequence[Write], promised: int) -> Sequence[Any]:
        leases, records = f"{self.prefix}:leases", [self._record(write) for write in writes]
        if script is WATCH:
            heads = [part for write in writes if write.known for part in (write.known.seq, _lifetime(write.known))]
            return len(records), *records, promised, *heads
        if script is RENEW:
            return 1, leases, promised, LIVE_LIFETIME, *_executions(writes)
        steps = [part for write in writes for part in self._step(write)]
        return 1 + len(records), leases, *records, promised, LIVE_LIFETIME, *steps

    def _step(self, write: Write) -> Iterator[Any]:
        args, known = write.args, write.known or Record()
        yield from (known.seq, args["n"], _share(write, known), listeners.channel_of(write.key, self.url))
        stored = bool(known.public) and (known.public, known.staff) == (args["public"], args["staff"])
        views = ("", "") if stored else (args["public"], args["staff"])
        yield from (args["fraction"], args["body"], *views)

    def _queue(self, write: Write) -> Sequence[Any]:
        args, channel = write.args, listeners.channel_of(write.key, self.url)
        told = args.get("history") and conf.PROGRESS_RECORDER
        head = (LIVE_LIFETIME, args.get("owner", ""), MINE_LIMIT, conf.PROGRESS_HISTORY_BACKLOG if told else 0)
        fields = [part for name in AS_SAID if (value := args.get(name)) for part in (name, value)]
        rest = ("weight", args.get("weight", UNIT), *fields)
        return 1, self._record(write), *head, args.get("arguments", ""), channel, *rest

    def _record(self, write: Write) -> str:
        return f"{self.prefix}:task:{write.key}"


def _shared(write: Write) -> tuple[Script, int] | None:
    """The script that may carry it out with others, and the time (µs) that they all promise; None: there is none."""
    if write.op == "renew":
        return RENEW, write.args["lease"]
    if write.known is None:
        return None
    if write.op == "watch":
        return WATCH, write.args["span"]
    return (STEP, write.args["lease"]) if _is_step(write, write.known) else None


def _executions(renewals: Iterable[Write]) -> Iterator[str]:
    return (part for write in renewals for part in (write.key, write.args["exec"]))


def _is_step(write: Write, known: Record) -> bool:
    """True if this save only moves on what `known` says, and is counted nowhere else."""
    args = write.args
    own = write.op == "save" and args["exec"] == known.exec and args["fence"] == known.fence > 0
    runs = known.state == args["state"] in (State.STARTED, State.PROGRESS) and args["lease"] > 0
    alone = known.tree in ("", write.key) and not known.group and not known.part_of
    return own and runs and alone


def _is_alone(write: Write) -> bool:
    """True if this is a message that may be its task's first, and that is counted nowhere else."""
    args = write.args
    alone = write.op == "queue" and args.get("tree", "") in ("", write.key)
    return alone and not any(args.get(name) for name in DECIDED)


def _lifetime(known: Record) -> int:
    """For which it stays when somebody looks at it (s)."""
    return conf.PROGRESS_RETENTION if known.ended else LIVE_LIFETIME


def _share(write: Write, known: Record) -> int:
    return max(known.share, math.floor(known.weight * float(write.args["fraction"] or 0)))


# --- Answers -----------------------------------------------------------------------------------------------


def read(call: Call, writes: Sequence[Write], reply: Any) -> dict[int, Answer]:
    """The answers to those of `writes` that `call` carried out; it was asked for these."""
    if call.script is RECORD:
        return {call.writes[0]: _answer(reply)}
    if reply is None:
        return {}
    if call.script is QUEUE:
        return {call.writes[0]: _queued(writes[0], reply)}
    if call.script is STEP:
        now, *words = reply.decode().split()
        told_of_each = zip(words[0::3], words[1::3], words[2::3], strict=True)
        stepped = zip(call.writes, writes, told_of_each, strict=True)
        return {index: _stepped(write, int(now), *told) for index, write, told in stepped if told[0] != "0"}
    if call.script is RENEW:
        now, heads = json.loads(reply)
        renewed = zip(call.writes, writes, heads, strict=True)
        return {index: _renewed(write, int(now), head) for index, write, head in renewed if head}
    now, done = reply.decode().split()
    looked = zip(call.writes, writes, done, strict=True)
    return {index: _looked(write, int(now)) for index, write, digit in looked if digit == "1"}


def read_beat(reply: bytes) -> tuple[Expired, list[int]]:
    """What a beat has found, and which of its renewals are left to the rules, counted from 0."""
    now, over, next_over, left = json.loads(reply)
    return Expired(int(now), list(over), int(next_over)), list(left)


def _answer(reply: bytes | None) -> Answer:
    if reply is None:
        return Answer(Status.DAMAGED, 0, Record(state=""))
    status, now, head, before, moved, sender_seq, heard = json.loads(reply.decode(errors="replace"))
    found = Record.from_head(head)
    return Answer(Status(status), int(now), found, before, bool(moved), int(sender_seq), heard != 0)


def _stepped(write: Write, now: int, seq: str, watched_until: str, heard: str) -> Answer:
    known, moved = write.known or Record(), Record.from_head({"seq": seq, "watched_until": watched_until})
    head = replace(
        known,
        seq=moved.seq,
        n=write.args["n"],
        updated_at=now,
        leased_until=now + write.args["lease"],
        watched_until=moved.watched_until,
        share=_share(write, known),
        public=write.args["public"],
        staff=write.args["staff"],
    )
    return Answer(Status.ACCEPTED, now, head, head.state, heard=heard != "0")


def _queued(write: Write, reply: bytes) -> Answer:
    stamp, heard = reply.decode().split()
    now, args = int(stamp), write.args
    said = {name: args[name] for name in ("owner", "tree", "weight", "sent", "queue", "history") if name in args}
    head = Record(seq=now, queued_at=now, updated_at=now, **said)
    return Answer(Status.ACCEPTED, now, head, heard=heard != "0")


def _looked(write: Write, now: int) -> Answer:
    known = write.known or Record()
    return Answer(Status.ACCEPTED, now, known, known.state)


def _renewed(write: Write, now: int, head: Sequence[str]) -> Answer:
    named = dict(zip(("seq", "state", "control", "watched_until"), head, strict=True))
    found = Record.from_head({**named, "exec": write.args["exec"]})
    return Answer(Status.ACCEPTED, now, found, found.state)
