"""What was told to end by force: who can do it, and that nothing is said before it is over."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from celery import signals
from celery.concurrency import gevent, prefork, solo, thread

from progress import pool, publisher, terminating
from progress.leases import Held
from tests.processes import wait_until

TASK = Held("t", "e1")


class Result:
    """What a pool knows of a job, as billiard's results tell it."""

    def __init__(self) -> None:
        self.over = threading.Event()
        self.returned = False

    def ready(self) -> bool:
        return self.over.is_set()

    def successful(self) -> bool:
        return self.returned


@pytest.fixture
def said() -> Iterator[list[str]]:
    """What was said. This process has a publisher of its own meanwhile."""
    yield []
    publisher.stop()
    assert list(terminating.held()) == []


@pytest.fixture
def result() -> Result:
    return Result()


def delivery(result: Any) -> Any:
    return SimpleNamespace(_apply_result=lambda: result)


def test_nothing_is_said_before_the_pool_has_given_it_up(said: list[str], result: Result) -> None:
    """Until then it is among those for which signs of life are given."""
    terminating.when_over_in_pool(TASK, delivery(result), lambda: said.append("ended"))
    looks = threading.Event()
    publisher.get_publisher().run(lambda tell: _soon(looks))
    assert looks.wait(5)
    assert (said, list(terminating.held())) == ([], [TASK])
    result.over.set()
    wait_until(lambda: not list(terminating.held()), 5, "it is over")
    assert said == ["ended"]


async def _soon(looks: threading.Event) -> None:
    """Comes after a look or two of the same loop."""
    await asyncio.sleep(3 * terminating.LOOK)
    looks.set()


def test_a_body_that_told_its_own_end_is_not_spoken_for(said: list[str], result: Result) -> None:
    """It took no notice and returned: its own process has said how it ended."""
    result.returned = True
    result.over.set()
    terminating.when_over_in_pool(TASK, delivery(result), lambda: said.append("ended"))
    wait_until(lambda: not list(terminating.held()), 5, "it is over")
    assert said == []


@pytest.mark.parametrize("unknown", [None, SimpleNamespace(_apply_result=None), delivery(None)])
def test_what_the_pool_knows_nothing_of_is_over(said: list[str], unknown: Any) -> None:
    """Its result was collected already: there is nothing to wait for."""
    terminating.when_over_in_pool(TASK, unknown, lambda: said.append("ended"))
    assert said == ["ended"]


def test_a_process_that_leaves_waits_for_nobody(said: list[str], result: Result) -> None:
    """The wait ends with the publisher; the lease runs out then."""
    terminating.when_over_in_pool(TASK, delivery(result), lambda: said.append("ended"))
    publisher.stop()
    assert (said, list(terminating.held())) == ([], [])


def test_pools_that_can_end_a_task_are_known() -> None:
    """By what they have made of Celery's method; prefork gets it when it starts."""
    started = SimpleNamespace(terminate_job=lambda pid, signal=None: None)
    able = {
        "gevent": pool.is_able(gevent.TaskPool(4)),
        "prefork": pool.is_able(started),
        "solo": pool.is_able(solo.TaskPool()),
        "threads": pool.is_able(thread.TaskPool(4)),
        "none": pool.is_able(None),
    }
    assert able == {"gevent": True, "prefork": True, "solo": False, "threads": False, "none": False}
    assert hasattr(prefork.TaskPool, "terminate_job")


def test_where_a_task_can_be_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a child of prefork, and where the worker's own pool can; nowhere in a site's own processes."""
    monkeypatch.setattr(pool, "_can_terminate", pool.can_terminate())
    assert pool.can_terminate() is False
    signals.worker_process_init.send(sender=None)
    assert pool.can_terminate() is False
    signals.worker_process_init.send(sender="celery@host")
    assert pool.can_terminate() is True
    pool.on_worker_ready(SimpleNamespace(pool=solo.TaskPool()))
    assert pool.can_terminate() is False
    pool.on_worker_ready(SimpleNamespace(pool=gevent.TaskPool(4)))
    assert pool.can_terminate() is True
