"""Beside the site's own consumers on a core layer: progress takes none of their room, deletes nothing of theirs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from channels.layers import channel_layers

from progress import groups
from progress.subscription import Subscription, _layer
from tests.wire import until

CAPACITY = 10


@pytest.fixture
def core(redis_url: str, settings: Any) -> None:
    """The site's only layer is a core layer, on a real Redis."""
    host = {"address": redis_url, "socket_timeout": None}
    settings.CHANNEL_LAYERS = {
        "default": {
            "BACKEND": "channels_redis.core.RedisChannelLayer",
            "CONFIG": {"hosts": [host], "capacity": CAPACITY},
        }
    }


@asynccontextmanager
async def subscribed(heard: list[Any], group: str) -> AsyncIterator[Subscription]:
    """A running subscription that is in `group`."""
    subscription = Subscription(heard.append, lambda: None)
    running = asyncio.create_task(subscription.run())
    try:
        await subscription.wait_connected()
        await subscription.join(group)
        yield subscription
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await subscription.disconnect()
        await getattr(groups.layer(), "close_pools", groups.layer().flush)()


async def members(group: str) -> int:
    layer = groups.layer()
    return int(await layer.connection(layer.consistent_hash(group)).zcard(layer._group_key(group)))


@pytest.mark.usefixtures("core")
async def test_what_is_too_much_for_progress_costs_the_site_nothing() -> None:
    """While nobody takes what is for us and our queue is full, a consumer in the same process gets all of its own."""
    stuck = Subscription(lambda _event: None, lambda: None)
    stuck._layer = _layer()
    await stuck._connect()  # and nobody receives
    await stuck.join("bars")
    layer = groups.layer()
    mine = await layer.new_channel()
    await layer.group_add("chat", mine)
    for number in range(CAPACITY // 2):
        await asyncio.gather(*(layer.group_send("bars", {"type": "x"}) for _ in range(4 * CAPACITY)))
        await layer.group_send("chat", {"type": "chat.message", "number": number})
    received = [(await asyncio.wait_for(layer.receive(mine), 5))["number"] for _ in range(CAPACITY // 2)]
    assert received == list(range(CAPACITY // 2))
    await stuck.disconnect()
    await layer.close_pools()


@pytest.mark.usefixtures("core")
async def test_an_instance_that_is_given_up_leaves_the_site_what_is_its_own() -> None:
    """A replaced receiver of ours forgets its own membership; messages and groups of the site stay."""
    heard: list[Any] = []
    async with subscribed(heard, "bars") as subscription:
        layer = groups.layer()
        mine = await layer.new_channel()
        await layer.group_add("chat", mine)
        await layer.group_send("chat", {"type": "chat.message", "number": 1})
        assert subscription._layer is not layer
        broken = subscription._layer
        broken.deserialize = _raise
        await layer.group_send("bars", {"type": "x"})
        await until(lambda: subscription._layer is not broken, 10)
        await until(lambda: subscription._joined == {"bars"}, 10)
        assert await members("chat") == 1
        assert await members("bars") == 1
        assert (await asyncio.wait_for(layer.receive(mine), 5))["number"] == 1
        await layer.group_send("bars", {"type": "after"})
        await until(lambda: any(event["type"] == "after" for event in heard), 5)


def _raise(_message: bytes) -> Any:
    raise ConnectionError("the receiver is dead")


async def test_ours_is_an_instance_of_our_own_on_pubsub_too(redis_url: str) -> None:
    """Its receive loop is replaced and its lock can hang; the site's own consumers have neither."""
    async with subscribed([], "bars") as subscription:
        assert subscription._layer is not channel_layers["default"]


async def test_a_layer_in_memory_is_shared(settings: Any) -> None:
    """What is sent to one instance of it, no other hears."""
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
    assert _layer() is channel_layers["default"]
