"""The core layer loses messages, memberships and connections in its own ways. Ends are shown all the same.

Real: Redis, Daphne, its WebSockets, and the core layer, in which a message lives for two seconds. The tests play the
tasks.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, closing
from copy import deepcopy
from types import SimpleNamespace
from typing import Any

import pytest
from channels_redis import core
from channels_redis.core import RedisChannelLayer
from django.core.checks import run_checks
from redis.exceptions import TimeoutError as RedisTimeout

import progress
from progress import groups
from progress.counters import counters
from progress.subscription import Subscription
from tests.acted import ActedTask
from tests.processes import Login, in_this_process, wait_until
from tests.web_only import WebOnly
from tests.wire import Wire, until, wire

IDLE = 5.0  # seconds for which redis-py 8 waits for an answer, and the core layer for a message
CAPACITY = 100  # messages that a core layer keeps for a process


@pytest.fixture(scope="module")
def running_web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebOnly]:
    own = WebOnly(tmp_path_factory.mktemp("core") / "site", settings="tests.core_settings")
    try:
        yield own.start()
    finally:
        own.stop()


@pytest.fixture
def web(running_web: WebOnly, settings: Any) -> Iterator[WebOnly]:
    """Redis and a Daphne on the core layer; this process announces through it too."""
    with in_this_process(settings, running_web.redis.url, running_web.prefix):
        config = {
            "hosts": [{"address": running_web.redis.url, "socket_timeout": None}],
            "prefix": running_web.prefix,
            "expiry": 2,
        }
        settings.CHANNEL_LAYERS = {"default": {"BACKEND": "channels_redis.core.RedisChannelLayer", "CONFIG": config}}
        yield running_web


@pytest.fixture(scope="module")
def owner(running_web: WebOnly) -> Login:
    return running_web.user()


async def watched(stack: AsyncExitStack, web: WebOnly, owner: Login, count: int) -> tuple[Wire, list[ActedTask]]:
    """A page that watches so many tasks, and was pushed a step of each."""
    page = await stack.enter_async_context(wire(web.ws, cookie=owner.cookie))
    tasks = [ActedTask(owner=str(owner.pk)).queue() for _ in range(count)]
    await page.watch(*(task.id for task in tasks))
    for task in tasks:
        await asyncio.to_thread(task.run, 1, 10)
        await page.sees(task.id, current=1)
    return page, tasks


def waiting(web: WebOnly) -> int:
    """Messages that lie in the core layer for processes that have not taken them."""
    with closing(web.redis.client()) as client:
        return sum(client.zcard(name) for name in client.keys(f"{web.prefix}specific*"))


def members(web: WebOnly, task: ActedTask) -> int:
    """Channels that are in the task's group, as far as Redis knows."""
    with closing(web.redis.client()) as client:
        return int(client.zcard(f"{web.prefix}:group:{progress.group_name(task.id)}"))


async def test_a_core_layer_with_default_hosts_drops_who_hears_nothing_and_not_us(
    redis_url: str, settings: Any
) -> None:
    """A plain consumer is thrown out after five seconds of silence; we hear a canary every two. The check warns."""
    plain = {"BACKEND": "channels_redis.core.RedisChannelLayer", "CONFIG": {"hosts": [redis_url]}}
    settings.CHANNEL_LAYERS = {"default": plain}
    assert "task_progress.W003" in {found.id for found in run_checks()}
    replaced = counters.receivers_replaced
    heard: list[Any] = []
    ours = Subscription(heard.append, lambda: None)
    running = asyncio.create_task(ours.run())
    theirs = RedisChannelLayer(**deepcopy(plain["CONFIG"]))
    try:
        await ours.wait_connected()
        await ours.join("bars")
        with pytest.raises(RedisTimeout):
            await asyncio.wait_for(theirs.receive(await theirs.new_channel()), IDLE + 3)
        await ours.send("bars", {"type": "still there"})
        await until(lambda: {"type": "still there"} in heard, 3)
        assert counters.receivers_replaced == replaced
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await ours.disconnect()
        await theirs.close_pools()
        await groups.layer().close_pools()


async def test_ends_that_overflow_or_outlive_their_time_in_the_layer_are_shown(web: WebOnly, owner: Login) -> None:
    """20 tasks end while the server stands still and the layer is full. It keeps a hundred messages, and these only
    for their time, which is over when the server goes on.
    """
    async with AsyncExitStack() as stack:
        page, tasks = await watched(stack, web, owner, 20)
        steps = itertools.count(2)

        def full() -> bool:
            for task in tasks:
                task.run(next(steps), 10_000)
            return waiting(web) >= CAPACITY

        web.web.suspend()
        try:
            await asyncio.to_thread(wait_until, full, 20, "the layer is full")
            for task in tasks:
                task.end()
            await until(lambda: waiting(web) == 0, 10)  # they are too old by now
        finally:
            web.web.resume()
        await page.ends(*(task.id for task in tasks), seconds=10)
        assert {page.shown[task.id]["state"] for task in tasks} == {"SUCCESS"}
        assert page.close_code is None


async def test_a_membership_that_ran_out_costs_a_sweep(web: WebOnly, owner: Login) -> None:
    """A day after it joined, a channel is in no group any more, and nobody is told."""
    async with AsyncExitStack() as stack:
        page, (task,) = await watched(stack, web, owner, 1)
        with closing(web.redis.client()) as client:
            name = f"{web.prefix}:group:{progress.group_name(task.id)}"
            for member in client.zrange(name, 0, -1):
                client.zadd(name, {member: 1})  # joined long ago
        task.end()
        await page.ends(task.id, seconds=8)
        assert page.close_code is None


@pytest.mark.parametrize("trouble", ["emptied", "restarted"])
async def test_a_redis_that_loses_the_memberships_drops_no_socket_and_hides_no_end(
    web: WebOnly, owner: Login, trouble: str
) -> None:
    """The core layer keeps members in Redis and never writes them again: nothing is pushed any more, and the look at
    what is watched finds it.
    """
    async with AsyncExitStack() as stack:
        page, (task,) = await watched(stack, web, owner, 1)
        await until(lambda: members(web, task) == 1)
        await page.lives()  # a watch that is still being answered when Redis goes is told to come back
        if trouble == "emptied":
            with closing(web.redis.client()) as client:
                client.flushall()
            assert members(web, task) == 0
        else:
            await asyncio.to_thread(web.redis.kill)
            await asyncio.to_thread(web.redis.start)
        task.run(5, 10)
        await page.sees(task.id, seconds=10, current=5)
        task.end()
        await page.ends(task.id, seconds=10)
        await page.lives()


async def test_a_sender_whose_clock_is_wrong_neither_hides_an_end_nor_shows_a_step_back(
    web: WebOnly, owner: Login, monkeypatch: Any
) -> None:
    """The layer sorts by senders' clocks: who is behind is swept away by the next sender, who is ahead comes last."""

    def skewed(seconds: float) -> None:
        monkeypatch.setattr(core, "time", SimpleNamespace(time=lambda: time.time() + seconds))

    def scored(low: float, high: float) -> int:
        with closing(web.redis.client()) as client:
            names = client.keys(f"{web.prefix}specific*")
            return sum(client.zcount(name, time.time() + low, time.time() + high) for name in names)

    async with AsyncExitStack() as stack:
        page, (behind, ahead, right) = await watched(stack, web, owner, 3)
        web.web.suspend()
        try:
            right.run(2, 10)  # for the call that the server may have waiting in Redis
            skewed(-70)
            behind.end()
            await until(lambda: scored(-100, -40) >= 1)
            skewed(70)
            ahead.run(5, 10)
            await until(lambda: scored(40, 100) >= 1)
            skewed(0)
            ahead.end()
            right.end()
            await until(lambda: scored(-40, 40) >= 2)
            assert scored(-100, -40) == 0, "the layer keeps what is behind by now: L12 is out of date"
        finally:
            web.web.resume()
        await page.ends(*(task.id for task in (behind, ahead, right)), seconds=10)
        assert [page.shown[task.id]["state"] for task in (behind, ahead, right)] == ["SUCCESS"] * 3
        await page.lives()
