"""Where the records live: Redis (`redis_store`), or this process's memory (`memory_store`). One interface for both.

Two ways in. `write` and `control` are for code that must not wait (a request that enqueues, a task that starts):
they give up after 50 ms, and while Redis is away they cost nothing. Everything else may wait a second, and so may a
write that somebody has clicked for: a wish to cancel. Twins with an `a` are for event loops.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, NamedTuple, Protocol

from .conf import conf
from .exceptions import ProgressError
from .from_settings import from_settings
from .record import Record, Status
from .snapshot import State
from .workflow import Workflow

MINE_LIMIT: Final = 500  # tasks remembered per user
LOG_LIMIT: Final = 1000  # lines per task
LIVE_LIFETIME: Final = 7 * 24 * 3600  # seconds; queued or running, renewed by every accepted write


class Write(NamedTuple):
    """One operation of `rules.apply` on one key.

    `known`: the record's head as an earlier answer to this writer had it. It decides nothing; a store may take a
    shortcut where the record has not changed since.
    """

    op: str
    key: str
    args: Mapping[str, Any]
    known: Record | None = None


class Answer(NamedTuple):
    """What became of a write: its status, Redis's time (µs), and the record's head (no texts).

    `before`: the state it was in, "" if there was no record. `moved`: it was counted in another state than before
    in the workflows it belongs to. `sender_seq`: the new `seq` of the task that sent it, if that one's sums have
    changed, else 0. `heard`: False if it is known that nobody is in the task's group.
    """

    status: Status
    now: int
    head: Record
    before: str = ""
    moved: bool = False
    sender_seq: int = 0
    heard: bool = True

    @property
    def accepted(self) -> bool:
        """True if the record changed."""
        return self.status is Status.ACCEPTED

    @property
    def gone(self) -> bool:
        """True if there is no such record."""
        return self.status is Status.UNKNOWN

    @property
    def healed(self) -> bool:
        """True if this write took back that the task was presumed lost."""
        return self.accepted and self.before == State.LOST != self.head.state

    @property
    def watched(self) -> bool:
        """True if some server has said lately that somebody is looking at this task."""
        return self.head.watched_until > self.now


class LogPage(NamedTuple):
    """Log lines of a task, oldest first. `next` is the cursor to continue from."""

    lines: list[dict[str, str]]
    next: str
    truncated: bool


class Change(NamedTuple):
    """Something that the recorder is to write down: the record as it was then. `id` orders what a store tells.

    `arguments` is JSON, as `arguments.kept` gives it; "" where they were not told with this change.
    """

    id: str
    key: str
    record: Record
    arguments: str


class Changes(Protocol):
    """What happened to tasks, told to one of several readers, again to another if it says neither `done` nor `keep`.

    All methods raise `StoreUnavailable` when Redis does not answer.
    """

    def read(self, limit: int, wait: float) -> list[Change]: ...
    def done(self, changes: Sequence[Change]) -> None: ...
    def keep(self, changes: Sequence[Change]) -> None: ...
    def close(self) -> None: ...


class Expired(NamedTuple):
    """Keys of records whose lease has run out at the time `now` (µs). `next`: when the next one does; 0 = none."""

    now: int
    keys: list[str]
    next: int = 0


class Store(Protocol):
    """What both stores promise. Reads raise `StoreUnavailable` when Redis does not answer."""

    def write(self, write: Write) -> Answer: ...
    def control(self, key: str) -> str: ...
    def now(self) -> int: ...
    async def awrite_many(self, writes: Sequence[Write]) -> list[Answer]: ...
    def load(self, key: str) -> Record | None: ...
    def load_many(self, keys: Sequence[str]) -> list[Record | None]: ...
    async def aload_many(self, keys: Sequence[str]) -> list[Record | None]: ...
    def load_workflows(self, keys: Sequence[str]) -> list[Workflow | None]: ...
    async def aload_workflows(self, keys: Sequence[str]) -> list[Workflow | None]: ...
    def mine(self, owner: str, limit: int = 50) -> list[str]: ...
    async def amine(self, owner: str, limit: int = 50) -> list[str]: ...
    async def aexpired(self, limit: int) -> Expired: ...
    async def aunlist(self, keys: Sequence[str]) -> None: ...
    async def abeat(
        self, queues: Sequence[str], renewals: Sequence[Write], seconds: float, limit: int
    ) -> tuple[Expired, list[Answer]]: ...
    async def alistened(self, queues: Sequence[str]) -> set[str]: ...
    async def aappend_logs(self, key: str, lines: Sequence[tuple[str, str]], *, ended: bool = False) -> str: ...
    def logs(self, key: str, after: str | None = None, limit: int = 200) -> LogPage: ...
    async def alogs(self, key: str, after: str | None = None, limit: int = 200) -> LogPage: ...
    def open_changes(self) -> Changes: ...
    def revoke(self, name: str, at: float, forget_before: float) -> None: ...
    def revoked(self, since: float) -> dict[str, float]: ...
    async def arevoked(self, since: float) -> dict[str, float]: ...


def get_store() -> Store:
    """The store that the settings name, shared by the whole process."""
    place = kind, url, prefix = _place()
    if place not in _stores:
        if kind == "memory":
            from .memory_store import MemoryStore  # imports this module

            _stores.setdefault(place, MemoryStore())  # another thread may be first
        elif kind == "redis":
            from .redis_store import RedisStore  # imports this module

            _stores.setdefault(place, RedisStore(url, prefix))
        else:
            raise ProgressError(f'PROGRESS_STORE must be "redis" or "memory", got {kind!r}.')
    return _stores[place]


_stores: dict[tuple[str, str, str], Store] = {}


@from_settings
def _place() -> tuple[str, str, str]:
    kind = conf.PROGRESS_STORE
    return kind, "" if kind == "memory" else conf.PROGRESS_REDIS_URL, conf.PROGRESS_PREFIX


def watch_writes(
    keys: Iterable[str], seconds: float, known: Mapping[str, Record] = MappingProxyType({})
) -> list[Write]:
    """The writes that tell the workers of `keys` that somebody is looking, for so long from now.

    `known`: heads that earlier answers have had.
    """
    args = {"span": int(seconds * 1_000_000)}
    return [Write("watch", key, args, known.get(key)) for key in keys]
