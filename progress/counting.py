"""How a task counts: steps, loops, and the stages that it does one after another.

The cost to the task is the product's first promise, so nothing in `advance` or in a step of `track` takes a lock,
reads a clock or calls out, unless the publisher has asked for attention: it does so when it sleeps until the next
change, and when somebody wants the task to be cancelled. Loops and stages take a lock when they begin and end.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import TypeVar, overload

from . import snapshot
from .exceptions import TaskCancelled
from .stages import Stage, Standing, name_of, weight_of, weights_of

T = TypeVar("T")


class Counting:
    """The counts of one running task. Several threads may count at the same time: no step is lost."""

    def __init__(self, unit: str, wake: Callable[[], None]) -> None:
        self.attention = False  # the next change calls _attend()
        self.cancel_asked = False
        self.changes = 0  # counts everything but `current`
        self.in_body = True  # the life cycle clears it before and after the task's body
        self.stopped_in = 0  # the thread in which the body was stopped by `TaskCancelled`; 0 = it was not
        self._wake = wake
        self._whole = self._stage = Stage()  # the task, and the stage of it that runs
        self._whole.unit = unit
        self._whole.begin()
        self._resets = 0
        # A generator that is thrown away ends its loop wherever its thread happens to be, even in here.
        self._lock = threading.RLock()

    def advance(self, n: float = 1) -> None:
        """`n` more units are done."""
        if n.__class__ is not int:
            n = snapshot.number(n, "n")
        self._stage.current += n
        if self.attention:
            self._attend()

    @overload
    def track(
        self, iterable: Iterable[T], total: float | None = ..., initial: float = ..., unit: str | None = ...
    ) -> Iterator[T]: ...

    @overload
    def track(
        self, iterable: AsyncIterable[T], total: float | None = ..., initial: float = ..., unit: str | None = ...
    ) -> AsyncIterator[T]: ...

    def track(
        self,
        iterable: Iterable[T] | AsyncIterable[T],
        total: float | None = None,
        initial: float = 0,
        unit: str | None = None,
    ) -> Iterator[T] | AsyncIterator[T]:
        """The items of `iterable`, each counted when the loop asks for the next one. Async for what is async only.

        `initial` of them were done before, by an attempt that failed, and `iterable` gives the rest. `total` is the
        number of all, those included; it defaults to `initial` and the iterable's length, if it has one. A total
        that ``update()`` has set stays as it is until it is reached. The loop counts in the stage in which it
        begins, beside others that run there. Raises `InvalidReport` for what is no number.
        """
        before = max(snapshot.number(initial, "initial"), 0)
        if total is None:
            try:
                total = before + len(iterable)  # type: ignore[arg-type,operator]
            except (TypeError, OverflowError):  # none; or range(2**64)
                total = None
        loop = self._in_loop(snapshot.total(total), before, unit)
        if isinstance(iterable, AsyncIterable) and not isinstance(iterable, Iterable):
            return self._async_steps(iterable, loop)
        return self._steps(iterable, loop)  # a QuerySet, which can be walked either way, is walked plainly

    def _steps(self, iterable: Iterable[T], loop: AbstractContextManager[Stage]) -> Iterator[T]:
        with loop as stage:
            for item in iterable:
                yield item
                stage.current += 1
                if self.attention:
                    self._attend()

    async def _async_steps(self, iterable: AsyncIterable[T], loop: AbstractContextManager[Stage]) -> AsyncIterator[T]:
        with loop as stage:
            async for item in iterable:
                yield item
                stage.current += 1
                if self.attention:
                    self._attend()

    @contextmanager
    def _in_loop(self, known: float | None, initial: float, unit: str | None) -> Iterator[Stage]:
        with self._lock:
            stage = self._stage
            stage.begin_loop(known, initial)
            if unit is not None:
                stage.unit = snapshot.as_text(unit)
        self.changes += 1
        try:
            if self.attention:
                self._attend()
            yield stage
        finally:
            with self._lock:
                stage.end_loop()

    def stage(self, name: str, weight: float = 1) -> AbstractContextManager[None]:
        """``with progress.stage("read"):`` a part of the work. `current` begins at zero in it, `total` is unknown.

        A stage that was announced has the weight of the plan; any other joins its siblings with `weight`. Stages
        in a stage share out its weight. One that is entered again goes on with its count; one that is left by an
        exception has failed. Stages come one after another: the threads of a task share the one that runs.
        Raises `InvalidReport` for a weight that is no number above 0.
        """
        return self._in_stage(name_of(name), weight_of(weight, "weight"))

    @contextmanager
    def _in_stage(self, name: str, weight: float) -> Iterator[None]:
        if self.attention:
            self._stop_if_asked()
        with self._lock:
            inner = self._stage.part(name, weight)
            inner.begin()
            self._stage = inner
        self._changed()
        standing = Standing.FAILED
        try:
            yield
            standing = Standing.DONE
        except GeneratorExit:  # the generator that it stands in was left early: no failure
            standing = Standing.DONE
            raise
        finally:
            self._leave(inner, standing)

    def _leave(self, stage: Stage, standing: Standing) -> None:
        with self._lock:
            stage.end(standing)
            # Not simply to the stage around it: another thread may have entered one, or left that one before.
            while self._stage.state is not Standing.RUNNING and self._stage.within is not None:
                self._stage = self._stage.within
        self._changed()

    def stages(self, plan: Mapping[str, float]) -> None:
        """Announce the stages to come with their weights, in order: so the whole gets a fraction.

        Inside a stage these are its parts. A later plan adds to an earlier one. Raises `InvalidReport` for what is
        no mapping of names to numbers above 0, and for more than 1 000 stages.
        """
        weights = weights_of(plan)
        with self._lock:
            self._stage.plan(weights)
        self._changed()

    def reset(self) -> None:
        """Begin the running stage, or the task, again at zero: no total, no stages in it and no plan for them.

        This is the only way back within an attempt. Never raises.
        """
        with self._lock:
            self._stage.clear()
            self._resets += 1  # last, so that whoever has read this sees all of it
        self._changed()

    # --- Being heard, being stopped ------------------------------------------------------------------------

    @property
    def must_stop(self) -> bool:
        """True if the task's next step raises `TaskCancelled`."""
        return self.cancel_asked

    def _changed(self) -> None:
        self.changes += 1
        if self.attention:
            self._call()

    def _attend(self) -> None:
        self._stop_if_asked()
        self._call()

    def _stop_if_asked(self) -> None:
        # While the task cleans up after the first one, its `finally` may go on reporting. A thread that a stopped
        # body has left behind is stopped at its next step, too.
        left_behind = self.stopped_in not in (0, threading.get_ident())
        if self.must_stop and (self.in_body or left_behind) and not isinstance(sys.exc_info()[1], TaskCancelled):
            raise TaskCancelled

    def _call(self) -> None:
        self.attention = self.must_stop
        self._wake()
