"""The receive loop of channels_redis's pub/sub layer, as it has to be: it always yields, and it never ends by itself.

Two faults of the layer's own loop (channels_redis 4.3 on redis-py 8), each shown by a contact test:

- When a link breaks without a word, the kernel reports `ETIMEDOUT` in the end. In Python 3.11 and later that *is*
  `asyncio.TimeoutError`, which redis-py takes for "no message yet": it answers at once, for ever, and the loop that
  asks again and again never lets another task run. The server process is dead at full load.
- A `TimeoutError` that does get through ends the receiving task, and the layer never starts another.

So the instances that are ours get this loop. A connection that is broken is given up and made again, and whoever
listens is told of every new connection: what was sent meanwhile is lost.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from typing import Any, Final

logger = logging.getLogger(__name__)

WAIT: Final = 0.1  # seconds until the first group is joined, as in the layer
LISTEN: Final = 1.0  # seconds for one message: each time that none came takes Python's lock from a task that computes
AGAIN: Final = 0.5  # seconds after an error


def receive_patiently(layer: Any, reconnected: Callable[[], None]) -> None:
    """Let this instance receive by our loop, in the running event loop. Other kinds of layers stay as they are.

    `reconnected` is called whenever a connection was made again. Call it before the instance is used.
    """
    if hasattr(type(layer), "_get_layer"):
        for shard in layer._get_layer()._shards:
            shard._do_receiving = partial(_receive, shard, reconnected)


async def _receive(shard: Any, reconnected: Callable[[], None]) -> None:
    link: Any = None  # what the last message was read from
    while True:
        try:
            if shard._pubsub and shard._pubsub.subscribed:
                message = await shard._pubsub.get_message(ignore_subscribe_messages=True, timeout=LISTEN)
                link, before = _link(shard._pubsub), link
                if before is not None and link is not before:
                    reconnected()
                if message is None:
                    await _look_at_the_link(shard._pubsub, link)
                else:
                    shard._receive_message(message)
            else:
                await asyncio.sleep(WAIT)
        except Exception as error:  # noqa: BLE001 (whatever it is, the next message may come)
            logger.debug("The channel layer could not receive: %r", error)
            await asyncio.sleep(AGAIN)


async def _look_at_the_link(pubsub: Any, link: Any) -> None:
    """Nothing came. Was it a time without messages, or is the connection broken and says so at once each time?"""
    if link is not None and (error := link.exception()) is not None:
        logger.warning("The connection to Redis broke and is made again: %r", error)
        await pubsub.connection.disconnect(nowait=True)
    await asyncio.sleep(0)


def _link(pubsub: Any) -> Any:
    """The stream that a connection reads from: another one after each reconnect. None while there is none."""
    return getattr(pubsub.connection, "_reader", None)
