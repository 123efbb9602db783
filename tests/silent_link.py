"""Run as a program: what becomes of an event loop when the link to Redis breaks without a word.

``python -m tests.silent_link URL theirs|ours|workers`` receives by the pub/sub layer as it is, by our loop, or as the
publisher of a worker process does. It lets the
transport end with the error that the kernel reports for such a link, then says "dead" if the event loop does not turn
for three seconds, or "alive" and whether a message arrives afterwards.
"""

from __future__ import annotations

import asyncio
import errno
import os
import sys
import threading
from typing import Any

from channels_redis.pubsub import RedisPubSubChannelLayer

from progress import groups
from progress.control_group import ControlGroup
from progress.patient_receiver import receive_patiently

turned = threading.Event()


def judge() -> None:
    """In a thread: nothing in a loop that is dead could say so."""
    turned.clear()
    if not turned.wait(3):
        print("dead", flush=True)
        os._exit(0)


async def turn() -> None:
    while True:
        turned.set()
        await asyncio.sleep(0.05)


async def main(url: str, whose: str) -> None:
    layer: Any = RedisPubSubChannelLayer(hosts=[{"address": url}])
    reconnected = asyncio.Event()
    if whose == "workers":
        await as_a_worker(layer)
        return
    if whose == "ours":
        receive_patiently(layer, reconnected.set)
    channel = await layer.new_channel()
    (shard,) = layer._get_layer()._shards
    await layer.send(channel, {"type": "before"})
    assert (await layer.receive(channel))["type"] == "before"
    turning = asyncio.create_task(turn())
    await break_link(shard)
    async with asyncio.timeout(10):
        await reconnected.wait()
        await layer.send(channel, {"type": "after"})
        print("alive", (await layer.receive(channel))["type"], flush=True)
    turning.cancel()
    await layer.flush()


async def break_link(shard: Any) -> None:
    """Say what the kernel says of a link that broke without a word, and see whether the event loop turns on."""
    transport = shard._pubsub.connection._writer.transport
    transport._fatal_error(TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT)))
    await asyncio.sleep(0.2)  # a turn or two for the error to be seen
    await asyncio.to_thread(judge)


async def as_a_worker(layer: Any) -> None:
    """The group by which others reach a process that runs tasks."""
    heard = asyncio.Event()
    groups.layer = lambda: layer
    group = ControlGroup("p", lambda _event: heard.set(), lambda: None)
    turning = asyncio.create_task(turn())
    group.join()

    async def wake() -> None:
        while not heard.is_set():
            await layer.group_send(groups.of_process("p"), {"type": "progress.control"})
            await asyncio.sleep(0.1)

    async with asyncio.timeout(10):
        await wake()
    await break_link(layer._get_layer()._shards[0])
    heard.clear()
    async with asyncio.timeout(10):
        await wake()
    print("alive after", flush=True)
    turning.cancel()
    await group.leave()
    await layer.flush()


if __name__ == "__main__":
    # Begun before the loop may die: afterwards nothing would start it.
    threading.Timer(3, judge).start()
    asyncio.run(main(*sys.argv[1:]))
    os._exit(0)
