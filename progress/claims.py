"""What decides who may do what with a task, and which run of it one sees. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from .record import Record

# As the body of a record has it. No text in there can look like this: its quotes would be escaped.
UNCANCELLABLE: Final = '"cancellable":false'

Life = tuple[Any, Any]  # of a run of a task: its number, and when it was queued


@dataclass(frozen=True, slots=True)
class Claim:
    """What of a record decides who may see and cancel it."""

    owner: str
    tree: str
    seq: int = field(default=0, compare=False)  # of the record that said so: a later one may say otherwise
    cancellable: bool = True

    @classmethod
    def of(cls, record: Record) -> Claim:
        """The claim in a record."""
        return cls(record.owner, record.tree, record.seq, UNCANCELLABLE not in record.body)


NOBODYS: Final = Claim("", "")


def life_of(decoded: Mapping[str, Any]) -> Life:
    """Which run of the task a snapshot is of: the next run of a re-used id may be somebody else's."""
    return decoded.get("run"), decoded.get("queued_at")
