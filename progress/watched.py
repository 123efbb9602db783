"""What somebody here watches, and whom somebody here follows: the hub's memory."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Protocol

from .claims import Claim, life_of
from .counters import counters
from .outbox import Outbox, Shown
from .record import Record
from .store import Answer

logger = logging.getLogger(__name__)

GONE_FOR: Final = 8.0  # seconds; whoever runs a task writes its record again within five


class Watcher(Protocol):
    """One browser connection, as the hub sees it."""

    def progress_update(self, shown: Shown) -> None: ...
    def task_found(self, key: str, record: Record) -> None: ...


@dataclass(slots=True, eq=False)
class Seat:
    """How one connection is shown one task as long as nothing has to be decided. The connection keeps it true."""

    watcher: Watcher
    outbox: Outbox | None = None  # None: the watcher is told itself
    claim: Claim | None = None  # what it has found that it may be shown; None: it wants to look at what comes next
    staff: bool = False  # the staff view


@dataclass(slots=True)
class Watched:
    """A task that somebody here watches, and the newest that is known of it."""

    shown: Shown | None = None
    told: Shown | None = None  # the newest that was passed on; behind `shown` for one turn of the loop
    watchers: dict[Watcher, Seat] = field(default_factory=dict)
    head: Record = field(default_factory=Record)  # of the record, as the last look has found it
    gone_since: float = 0.0  # when a look found no record (s); 0 = it is there, as far as is known
    stored: int = 0  # the newest `seq` that a look has found in the record: announcements may be forged
    missed: int = 0  # a `seq` that a look has found and no announcement has brought; 0 = none

    def add(self, watcher: Watcher, seat: Seat | None = None) -> None:
        """Show it to one more, beginning with what is known."""
        known = watcher in self.watchers
        self.watchers[watcher] = seat or Seat(watcher)
        if self.shown is self.told and self.shown and not known:  # else it is passed on in a moment
            watcher.progress_update(self.shown)

    def show(self, shown: Shown) -> None:
        """This is the newest now; it is to be passed on."""
        if self.shown is not self.told:
            counters.conflated += len(self.watchers)
        self.shown = shown
        self.gone_since = 0.0
        if self.missed and shown.seq >= self.missed:
            self.missed = 0
            counters.gaps_healed += 1

    def pass_on(self, alone: bool) -> None:
        """Show the newest to all watchers. `alone`: nothing else is, so that there is no frame to share."""
        shown, before = self.shown, self.told
        if shown is None or shown is before:
            return
        self.told = shown
        # Decided for all at once: they have something to look at when there are log lines, or another claim.
        claim = shown.claim if before is not None and before.logs_to == shown.logs_to else None
        wires: dict[bool, bytes] = {}  # by view
        for seat in list(self.watchers.values()):
            outbox, staff = seat.outbox, seat.staff
            if claim is None or seat.claim is not claim or outbox is None:
                _ask(seat.watcher, shown)
                continue
            if alone and staff not in wires:
                wires[staff] = shown.wire(staff)
            if not alone or not outbox.write(wires[staff]):
                outbox.put(shown, staff)

    def miss(self, seq: int) -> None:
        """A look has found this, newer than all that was announced here: something was lost on the way."""
        if self.shown is not None and not self.missed:
            self.missed = seq
            counters.gaps_seen += 1

    def vanished(self, now: float) -> bool:
        """Its record is not there at `now` (s). True if that has been so for longer than a living worker needs."""
        self.gone_since = self.gone_since or now
        return now - self.gone_since > GONE_FOR

    def went_back(self, seq: int) -> bool:
        """A look has found this in the record. True if an earlier one has found something newer, which is shown."""
        before, self.stored = self.stored, max(self.stored, seq)
        return self.shown is not None and 0 < seq < self.shown.seq == before

    def abandon(self) -> None:
        """Nobody watches it any more."""
        if self.missed:
            self.missed = 0
            counters.gaps_abandoned += 1


def _ask(watcher: Watcher, shown: Shown) -> None:
    try:
        watcher.progress_update(shown)
    except Exception:
        logger.exception("Progress could not be shown to somebody")  # the others are


@dataclass(slots=True)
class Followed:
    """A user whose unfinished tasks somebody here wants to know of, and those that need no more looking at."""

    followers: dict[Watcher, int] = field(default_factory=dict)  # since when (µs by Redis's clock)
    ended: set[str] = field(default_factory=set)

    def tell(self, key: str, record: Record) -> None:
        """The user has this task."""
        # Told once more when it has ended meanwhile: it may have been too brief to be seen unfinished.
        for follower, since in list(self.followers.items()):
            if not record.ended or record.finished_at > since:
                follower.task_found(key, record)
        if record.ended:
            self.ended.add(key)
        else:
            self.ended.discard(key)

    def to_read(self, keys: Iterable[str], tasks: Mapping[str, Watched]) -> list[str]:
        """Which of the user's tasks may be unfinished and are not watched by all followers."""
        keys = list(keys)
        self.ended.intersection_update(keys)  # what the store no longer lists needs no remembering
        found = []
        for key in keys:
            watched = tasks.get(key)
            if key not in self.ended and not (watched and self.followers.keys() <= watched.watchers.keys()):
                found.append(key)
        return found


class Copy(NamedTuple):
    """What is known here of a record: what is shown of it, and its head as the last look has found it."""

    shown: Shown
    head: Record


def only_copies(
    tasks: Mapping[str, Watched], looks: Mapping[str, Answer], now: float
) -> tuple[list[Copy], list[Copy]]:
    """What is known of records that are gone at `now` (s), and of those that have gone back."""
    gone, gone_back = list[Copy](), list[Copy]()
    for key, answer in looks.items():
        watched = tasks.get(key)
        if watched is None or watched.shown is None:
            continue
        if answer.gone:
            gone += [Copy(watched.shown, watched.head)] if watched.vanished(now) else []
        elif watched.went_back(answer.head.seq):
            gone_back.append(Copy(watched.shown, watched.head))
        else:
            watched.head = answer.head
    return gone, gone_back


def shown_of(key: str, record: Record, now: Callable[[], str]) -> Shown:
    """The record as it is shown. Raises `ValueError` when somebody has damaged it."""
    text, staff = record.texts()
    decoded = json.loads(text)
    logs_to = decoded.get("logs_to")
    return Shown(
        key,
        record.seq,
        text,
        staff,
        logs_to=logs_to,
        now=now,
        claim=Claim.of(record),
        life=life_of(decoded),
        final=record.ended,
    )
