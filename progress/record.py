"""The record of a task: what is stored of it, and the snapshot that readers are shown of that. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any, Final

from . import snapshot
from .snapshot import FINAL, State

UNIT: Final = 1_000_000  # the weight of a task that says nothing about it


# The parts of a record that a writer hands over as they are.
TEXTS: Final = ("fraction", "body", "public", "staff", "outcome", "outcome_staff")


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
    terminable: int = 0  # 1: the pool that runs it can be told to kill it
    sent: str = ""  # random name of the message that was sent for this run
    queue: str = ""  # name of the queue it was sent to, as far as that is known
    unserved: int = 0  # 1: no worker listens to that queue
    leased_until: int = 0  # whoever runs it promised a sign of life by then; 0 = nobody promised any
    live_state: str = ""  # what LOST hides
    history: int = 0  # 1: the recorder is told of its changes
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

    @classmethod
    def from_head(cls, head: Mapping[str, str]) -> Record:
        """The head of a record as `record.lua` answers it. A number that somebody has damaged counts as missing."""
        values: dict[str, Any] = {"state": ""}
        for name, text in head.items():
            try:
                values[name] = int(text) if name in _NUMBERS else text
            except ValueError:
                continue
        return cls(**values)

    def text(self, *, staff: bool = False) -> str:
        """The snapshot as JSON, in the public or the staff view, as `protocol.md` describes it."""
        return self.texts()[staff]

    def texts(self) -> tuple[str, str]:
        """The snapshot as JSON, in the public and in the staff view."""
        head = snapshot.encode(self._head())[1:-1]
        public, staff = (self.public, self.outcome), (self.staff, self.outcome_staff)
        return _joined(head, self.body, *public), _joined(head, self.body, *staff)

    def _head(self) -> dict[str, Any]:
        head: dict[str, Any] = {
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
        if self.state == State.PENDING and self.queue:
            head["queue"] = self.queue
            head["unserved"] = bool(self.unserved)
        if self.parts_known:
            # Some may end now that were sent by the run before, or before this record was there.
            ended = min(self.parts_ended, self.parts_known)
            failed = min(self.parts_failed, ended)
            head["children"] = {"known": self.parts_known, "ended": ended, "failed": failed}
        return head

    def snapshot(self, *, staff: bool = False) -> dict[str, Any]:
        """The snapshot as a dict, in the public or the staff view."""
        decoded: dict[str, Any] = json.loads(self.text(staff=staff))
        return decoded

    def _fraction(self) -> float | None:
        own = float(self.fraction) if self.fraction else None
        # While its body runs it may send more, and nobody knows how many; when it is over, or goes on as another
        # task, its parts say how far the whole is.
        whole = self.parts_ended < self.parts_known and self.state in (State.SUCCESS, State.PENDING)
        if whole and self.parts_weight > 0:
            return min(max(self.parts_done / self.parts_weight, own or 0), snapshot.ALMOST_DONE)
        return 1 if self.state == State.SUCCESS else own


def _joined(*members: str) -> str:
    return "{" + ",".join(part for part in members if part) + "}"


_FIELDS: Final = {field.name: (int if field.type == "int" else lambda raw: raw.decode()) for field in fields(Record)}
_NUMBERS: Final = {name for name, convert in _FIELDS.items() if convert is int}
