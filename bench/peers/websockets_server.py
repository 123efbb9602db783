"""What a Redis channel brings goes to every WebSocket, by the `broadcast` of the library websockets, on uvloop."""

import sys

import redis.asyncio as redis
import uvloop
from websockets.asyncio.server import ServerConnection, broadcast, serve

sockets: set[ServerConnection] = set()


async def browser(socket: ServerConnection) -> None:
    """Who connects may listen."""
    sockets.add(socket)
    try:
        await socket.wait_closed()
    finally:
        sockets.discard(socket)


async def main(port: str, url: str, channel: str) -> None:
    async with (
        redis.from_url(url).pubsub() as hearing,
        serve(browser, "127.0.0.1", int(port), compression=None, ping_interval=None),
    ):
        await hearing.subscribe(channel)
        async for message in hearing.listen():
            if message["type"] == "message":
                broadcast(sockets, message["data"].decode())


uvloop.run(main(*sys.argv[1:]))
