"""What a task's body calls: each function acts on the running task, and does nothing outside of one.

The running task is found by a context variable, so it is seen in everything that the body calls, in coroutines and
their tasks, and in threads that are given a copy of the context.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any, TypeVar, overload

from .reporter import KEEP, Reporter, _Keep, running

T = TypeVar("T")

_task = running.get  # looked up once: that is a quarter of what advance() costs


def reporter() -> Reporter:
    """The running task's reporter; outside a task one that does nothing."""
    return _task()


def advance(n: float = 1) -> None:
    """`Reporter.advance` of the running task."""
    _task().advance(n)


def update(
    current: float | None = None,
    total: float | _Keep | None = KEEP,
    message: str | None = None,
    title: str | None = None,
    meta: Mapping[str, Any] | None = None,
    unit: str | None = None,
) -> None:
    """`Reporter.update` of the running task."""
    _task().update(current, total, message, title, meta, unit)


@overload
def track(
    iterable: Iterable[T], total: float | None = ..., initial: float = ..., unit: str | None = ...
) -> Iterator[T]: ...


@overload
def track(
    iterable: AsyncIterable[T], total: float | None = ..., initial: float = ..., unit: str | None = ...
) -> AsyncIterator[T]: ...


def track(
    iterable: Iterable[T] | AsyncIterable[T], total: float | None = None, initial: float = 0, unit: str | None = None
) -> Iterator[T] | AsyncIterator[T]:
    """`Reporter.track` of the running task; outside a task the iterable's own iterator."""
    return _task().track(iterable, total, initial, unit)


def stage(name: str, weight: float = 1) -> AbstractContextManager[None]:
    """`Reporter.stage` of the running task."""
    return _task().stage(name, weight)


def stages(plan: Mapping[str, float]) -> None:
    """`Reporter.stages` of the running task."""
    _task().stages(plan)


def log(line: str, level: str = "INFO") -> None:
    """`Reporter.log` of the running task."""
    _task().log(line, level)


def reset() -> None:
    """`Reporter.reset` of the running task."""
    _task().reset()
