"""For the tests of a site: progress without Redis, without a worker and without waiting. See `docs/testing.md`.

    told = progress.testing.collect(import_rows, "customers.csv")
    assert told.states == ["STARTED", "PROGRESS", "SUCCESS"]

`in_memory` keeps everything in this process, `collect` shows what a call reported, `Communicator` watches it as a
browser does. Nothing here needs pytest; `progress.pytest_plugin` has fixtures for those who use it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, overload
from unittest.mock import patch
from uuid import uuid4

from channels.layers import InMemoryChannelLayer, channel_layers

from . import publisher, snapshot
from . import store as stores
from .communicator import Communicator
from .conf import conf
from .direct_publisher import DirectPublisher
from .exceptions import ProgressError, TaskCancelled
from .memory_store import MemoryStore
from .options import options_of
from .record import Record
from .reporter import Job, Reporter, running
from .snapshot import State
from .store import LOG_LIMIT, Answer, Store, Write

__all__ = ["Communicator", "MemoryStore", "Told", "collect", "in_memory", "record_runs"]


def record_runs() -> int:
    """Write what has happened so far into the history, as a server would within a second, and send `run_finished`.

    The answer is how many changes that were. Needs a database with progress's table. Raises what that raises.
    """
    from .recorder import Recorder  # a table: this module is known to test suites before Django's apps are

    return Recorder().record_once()


class _Only(dict[tuple[str, str, str], Store]):
    """The one store, whatever the settings name."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def __contains__(self, place: object) -> bool:
        return True

    def __getitem__(self, place: tuple[str, str, str]) -> Store:
        return self._store


@contextmanager
def in_memory(store: MemoryStore | None = None) -> Iterator[MemoryStore]:
    """Until the block is left, progress lives in this process: its store, its hints and what sends them.

    No Redis is asked, whatever the settings say, and no thread is started. Everything that a task reports is stored
    before the call returns. The channel layer that progress uses is replaced by an empty one in memory, also for
    whoever else uses that alias. Blocks may be nested; the inner one begins empty.
    """
    own = store or MemoryStore()
    alias = conf.PROGRESS_CHANNEL_LAYER
    with (
        patch.object(stores, "_stores", _Only(own)),
        patch.object(publisher, "_publisher", DirectPublisher(own)),
    ):
        before = channel_layers.set(alias, InMemoryChannelLayer())
        try:
            yield own
        finally:
            if before is None:
                channel_layers.backends.pop(alias, None)
            else:
                channel_layers.set(alias, before)


class Told(Sequence[dict[str, Any]]):
    """Every snapshot that was stored, in order, in the public view; the fields are those of `docs/protocol.md`.

    `staff` has the same in the staff view.
    """

    def __init__(self) -> None:
        self.staff: list[dict[str, Any]] = []
        self._public: list[dict[str, Any]] = []
        self._exits = ExitStack()
        self._store: MemoryStore = MemoryStore()
        self._get: Callable[[], Any] | None = None

    @overload
    def __getitem__(self, index: int) -> dict[str, Any]: ...
    @overload
    def __getitem__(self, index: slice) -> list[dict[str, Any]]: ...
    def __getitem__(self, index: int | slice) -> dict[str, Any] | list[dict[str, Any]]:
        """One snapshot, or a list of some."""
        return self._public[index]

    def __len__(self) -> int:
        """How many snapshots were stored."""
        return len(self._public)

    def __repr__(self) -> str:
        """What happened, for the message of a failed assertion."""
        lines = (f"{each['name']} {each['state']} {each['current']} {each['message']!r}" for each in self)
        return "\n".join(("Told:", *lines))

    # --- What was told -------------------------------------------------------------------------------------

    @property
    def last(self) -> dict[str, Any]:
        """The newest snapshot. Raises `ProgressError` if nothing was told."""
        if not self._public:
            raise ProgressError(
                "Nothing was told, expected at least one snapshot: was the task run eagerly, and is it tracked?"
            )
        return self._public[-1]

    @property
    def ends(self) -> list[dict[str, Any]]:
        """The final snapshots: one for each task that ended."""
        return [each for each in self._public if each["final"]]

    @property
    def states(self) -> list[str]:
        """The states, each once per stay."""
        return _without_repeats(each["state"] for each in self._public)

    @property
    def fractions(self) -> list[float | None]:
        """How far it was, each value once per stay; None = unknown."""
        return _without_repeats(each["fraction"] for each in self._public)

    @property
    def messages(self) -> list[str]:
        """The messages, each once per stay; tasks begin with an empty one."""
        return _without_repeats(each["message"] for each in self._public)

    @property
    def logs(self) -> list[tuple[str, str]]:
        """The log lines as (level, text), task by task."""
        keys = dict.fromkeys(each["id"] for each in self._public)
        pages = (self._store.logs(key, "0-0", LOG_LIMIT) for key in keys)
        return [(line["level"], line["text"]) for page in pages for line in page.lines]

    def of(self, task: str) -> list[dict[str, Any]]:
        """The snapshots of one task, by its id, or of all tasks with this name."""
        return [each for each in self._public if task == each["name"] or snapshot.key(task) == each["id"]]

    def get(self) -> Any:
        """What the call that was given to `collect` returned; raises what it raised."""
        if self._get is None:
            raise ProgressError("There is no result: collect() was given nothing to call.")
        return self._get()

    # --- While it is collected -----------------------------------------------------------------------------

    def cancel(self, task_id: str | None = None) -> None:
        """Ask to cancel a task, by default the one that was told of last. Its next step raises `TaskCancelled`.

        To be called while the task runs, from what it iterates over or calls.
        """
        key = self.last["id"] if task_id is None else snapshot.key(task_id)
        self._store.write(Write("cancel", key, {"by": "test"}))
        _direct_publisher().ask_cancel(key)

    def __enter__(self) -> Told:
        """Collect from now on."""
        if isinstance(publisher._publisher, DirectPublisher):
            store = stores.get_store()
        else:
            store = self._exits.enter_context(in_memory())
        assert isinstance(store, MemoryStore)  # noqa: S101 (in_memory has just put it there)  # nosec B101
        self._store = store
        self._exits.enter_context(patch.object(store, "write", self._observing(store.write)))
        return self

    def __exit__(self, *_error: object) -> None:
        """Collect no more."""
        self._exits.close()

    def _observing(self, plain: Callable[[Write], Answer]) -> Callable[[Write], Answer]:
        def write(given: Write) -> Answer:
            before = self._store.load(given.key)
            answer = plain(given)
            record = self._store.load(given.key)
            if answer.accepted and record is not None and (before is None or before.seq < record.seq):
                self._keep(record)
                if answer.sender_seq and (sender := self._store.load(record.part_of)):
                    self._keep(sender)
            return answer

        return write

    def _keep(self, record: Record) -> None:
        self._public.append(record.snapshot())
        self.staff.append(record.snapshot(staff=True))


def _without_repeats(values: Iterator[Any]) -> list[Any]:
    return [value for value, _ in itertools.groupby(values)]


def _direct_publisher() -> DirectPublisher:
    found: Any = publisher._publisher
    if not isinstance(found, DirectPublisher):
        raise ProgressError("Nothing is collected now, expected to be called inside of collect().")
    return found


@overload
def collect() -> Told: ...
@overload
def collect(call: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Told: ...
def collect(call: Callable[..., Any] | None = None, /, *args: Any, **kwargs: Any) -> Told:
    """Everything that is reported, in order and complete: no thread, no interval, nothing is skipped.

    Given a task, applies it here and now, as ``apply()`` does. Given a function, calls it as if it were the body of
    a task. Either may fail: `Told.get` raises what it raised. Without an argument, a context manager that collects
    from every task that is run or sent in its block::

        with collect() as told:
            client.post("/import/", {"file": file})

    Uses the store of the `in_memory` block around it, else has one of its own.
    """
    told = Told()
    if call is None:
        return told
    with told:
        if apply := getattr(call, "apply", None):
            told._get = apply(args=args, kwargs=kwargs).get
        else:
            told._get = _as_a_body(call, args, kwargs)
    return told


def _as_a_body(call: Callable[..., Any], args: Any, kwargs: Any) -> Callable[[], Any]:
    bridge = _direct_publisher()
    name = f"{call.__module__}.{getattr(call, '__qualname__', type(call).__qualname__)}"
    options = options_of(name, call)
    key = str(uuid4())
    job = Job(key, name, uuid4().hex, options, title=options.titled(call, args, kwargs, name), tree=key, root=key)
    reporter = Reporter(job, bridge.wake)
    bridge.follow(reporter)
    token = running.set(reporter)
    try:
        value = call(*args, **kwargs)
    except TaskCancelled as error:
        reporter.become(State.REVOKED)
        return _raising(error)
    except Exception as error:  # noqa: BLE001 (told as a failure, and raised by `Told.get`)
        reporter.become(State.FAILURE, error=error)
        return _raising(error)
    finally:
        running.reset(token)
    reporter.become(State.SUCCESS, result=value)
    return lambda: value


def _raising(error: BaseException) -> Callable[[], Any]:
    def get() -> Any:
        raise error

    return get
