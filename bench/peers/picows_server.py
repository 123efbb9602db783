"""The floor: what a Redis channel brings goes to every WebSocket, by picows (Cython) on uvloop."""

import sys

import redis.asyncio as redis
import uvloop
from picows import WSFrame, WSListener, WSMsgType, WSTransport, WSUpgradeRequest, ws_create_server

sockets: set[WSTransport] = set()


class Browser(WSListener):
    """One connection."""

    def on_ws_connected(self, transport: WSTransport) -> None:
        sockets.add(transport)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        sockets.discard(transport)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type is WSMsgType.CLOSE:
            transport.disconnect()


def browser(_request: WSUpgradeRequest) -> Browser:
    """Who connects may listen."""
    return Browser()


async def main(port: str, url: str, channel: str) -> None:
    async with redis.from_url(url).pubsub() as hearing:
        await hearing.subscribe(channel)
        await ws_create_server(browser, "127.0.0.1", int(port))
        async for message in hearing.listen():
            if message["type"] == "message":
                for socket in sockets:
                    socket.send(WSMsgType.TEXT, message["data"])


uvloop.run(main(*sys.argv[1:]))
