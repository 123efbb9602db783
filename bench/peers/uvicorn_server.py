"""The floor under uvicorn: what a Redis channel brings is framed once and written into every transport."""

import asyncio
import sys

import redis.asyncio as redis
import uvicorn

from progress.outbox import wire

transports: set[asyncio.Transport] = set()


async def browser(_scope, receive, send) -> None:  # type: ignore[no-untyped-def]
    """Who connects may listen."""
    await receive()
    await send({"type": "websocket.accept"})
    transport = send.__self__.transport
    transports.add(transport)
    while (await receive())["type"] != "websocket.disconnect":
        pass
    transports.discard(transport)


async def pass_on(url: str, channel: str) -> None:
    async with redis.from_url(url).pubsub() as hearing:
        await hearing.subscribe(channel)
        async for message in hearing.listen():
            if message["type"] == "message":
                framed = wire(message["data"].decode())
                for transport in transports:
                    transport.write(framed)


async def main(port: str, url: str, channel: str) -> None:
    options = {"lifespan": "off", "ws": "websockets-sansio", "ws_per_message_deflate": False, "log_level": "warning"}
    server = uvicorn.Server(uvicorn.Config(browser, port=int(port), **options))
    passing = asyncio.create_task(pass_on(url, channel))
    await server.serve()
    passing.cancel()


if __name__ == "__main__":
    import uvloop

    uvloop.run(main(*sys.argv[1:]))
