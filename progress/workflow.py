"""A workflow as a whole: its parts counted by state, how far they are together, and the first of them. Pure.

A task is counted in the workflow it belongs to, in its group, and in the task whose body sent it. That happens in
the very write that changes it, so the sums are exact whatever is retried, replaced, cancelled or told twice. The
task that a workflow begins with is not in the sums: it has a record, which is read beside them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from . import snapshot
from .record import Record
from .snapshot import FINAL, State

MEMBERS: Final = 200  # parts of a workflow that are remembered by name, the first ones
# Ends that are failures. Being cancelled is none, and neither is being ignored.
FAILED: Final = frozenset({State.FAILURE, State.REJECTED})


@dataclass(frozen=True, slots=True)
class Move:
    """What one write changes in the sums of a whole."""

    left: str = ""  # the state it was counted in, "" = it was not counted yet
    entered: str = ""
    weight: int = 0
    done: int = 0

    @property
    def known(self) -> int:
        """1 if the part is new."""
        return int(not self.left)

    @property
    def ended(self) -> int:
        """1 if it ended, −1 if it runs again."""
        return int(self.entered in FINAL) - int(self.left in FINAL)

    @property
    def failed(self) -> int:
        """1 if it failed, −1 if it had failed and does so no longer."""
        return int(self.entered in FAILED) - int(self.left in FAILED)

    @property
    def changes_state(self) -> bool:
        """True if this is worth telling at once."""
        return self.left != self.entered


def wholes(key: str, record: Record) -> list[str]:
    """Keys of the workflows that the task `key` is counted in."""
    return [name for name in dict.fromkeys((record.tree, record.group)) if name not in ("", key)]


def move(old: Record | None, new: Record) -> Move | None:
    """What a write that made `new` of `old` changes in a whole that counts `old` already; None = nothing."""
    before = old or Record(state="", weight=0)
    found = Move(before.state, new.state, new.weight - before.weight, new.share - before.share)
    return found if found.changes_state or found.weight or found.done else None


def counted(whole: Record, change: Move, now: int) -> Record:
    """The record of a task after one of those that it sent has changed."""
    return replace(
        whole,
        seq=max(whole.seq + 1, now),
        parts_known=whole.parts_known + change.known,
        parts_ended=whole.parts_ended + change.ended,
        parts_failed=whole.parts_failed + change.failed,
        parts_weight=whole.parts_weight + change.weight,
        parts_done=whole.parts_done + change.done,
    )


@dataclass(frozen=True, slots=True)
class Workflow:
    """The sums over a workflow, and the keys of its first parts."""

    owner: str = ""
    seq: int = 0
    weight: int = 0
    done: int = 0
    counts: Mapping[str, int] = field(default_factory=dict)  # parts in each state
    members: tuple[str, ...] = ()

    @classmethod
    def from_hash(cls, stored: Mapping[bytes, bytes]) -> Workflow | None:
        """The workflow in what HGETALL returned; None if there is none. Raises `ValueError` for a damaged one."""
        values = {name.decode(): value.decode() for name, value in stored.items()}
        if "seq" not in values:
            return None
        counts = {str(state): int(values[state]) for state in State if int(values.get(state, 0))}
        members = [values[f"m:{place}"] for place in range(MEMBERS) if f"m:{place}" in values]
        sums = {name: int(values.get(name, 0)) for name in ("seq", "weight", "done")}
        return cls(values.get("owner", ""), **sums, counts=counts, members=tuple(dict.fromkeys(members)))

    def with_part(self, key: str, owner: str, change: Move, now: int) -> Workflow:
        """The workflow after the part `key` of `owner` has changed."""
        counts = dict(self.counts)
        for state, by in ((change.left, -1), (change.entered, 1)):
            if state:
                counts[state] = counts.get(state, 0) + by
        fresh = change.known and len(self.members) < MEMBERS and key not in self.members
        return Workflow(
            self.owner if self.seq else owner,
            max(self.seq + 1, now),
            self.weight + change.weight,
            self.done + change.done,
            {state: count for state, count in counts.items() if count},
            (*self.members, key) if fresh else self.members,
        )

    def beginning_with(self, key: str, first: Record | None) -> Workflow:
        """The same with the task that it begins with, if there is one."""
        if first is None:
            return self
        begun = Move("", first.state, first.weight, first.share)
        whole = self.with_part(key, first.owner, begun, 0)
        seq = max(self.seq, first.seq)
        return replace(
            whole, seq=seq, owner=first.owner, members=tuple(dict.fromkeys((key, *self.members)))[:MEMBERS]
        )

    @property
    def shown(self) -> dict[str, int]:
        """Parts in each state. Of the run before some may leave a state in which this one has not counted them."""
        return {state: count for state, count in self.counts.items() if count > 0}

    @property
    def known(self) -> int:
        """Parts that are known of."""
        return sum(self.shown.values())

    @property
    def ended(self) -> int:
        """Parts that have ended, however."""
        return sum(count for state, count in self.shown.items() if state in FINAL)

    @property
    def failed(self) -> int:
        """Parts that have failed."""
        return sum(count for state, count in self.shown.items() if state in FAILED)

    @property
    def fraction(self) -> float | None:
        """How far all parts are together, by their weights. 1 only when the last one has ended.

        It falls only when parts become known that were not.
        """
        if self.weight <= 0:
            return None
        if self.ended == self.known:
            return 1
        return min(max(self.done / self.weight, 0.0), snapshot.ALMOST_DONE)

    def message(self, key: str) -> dict[str, Any]:
        """What a watcher of the workflow `key` is told."""
        return {
            "id": key,
            "seq": self.seq,
            "known": self.known,
            "ended": self.ended,
            "failed": self.failed,
            "counts": dict(sorted(self.shown.items())),
            "fraction": self.fraction,
            "members": list(self.members),
        }
