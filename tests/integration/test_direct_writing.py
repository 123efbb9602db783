"""Contact with the servers: what `progress.servers` leans on to write past their own way, on each that it knows."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Iterator, Sequence

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosedError

from tests.direct_asgi import CHUNK, MANY
from tests.processes import Uvicorn, Web
from tests.web_only import ChosenWeb


class DirectWeb(ChosenWeb):
    """Daphne with `tests.direct_asgi`."""

    application = "tests.direct_asgi:application"


class DirectUvicorn(Uvicorn):
    """uvicorn with the same, with one of its ways to speak WebSocket, which may compress."""

    application = DirectWeb.application
    way = "websockets-sansio"

    def command(self) -> Sequence[str]:
        return [*super().command(), "--ws", self.way, "--ws-per-message-deflate", "true"]


class LegacyUvicorn(DirectUvicorn):
    """With the older interface of `websockets`."""

    way = "websockets"


@pytest.fixture(scope="module", params=[DirectWeb, DirectUvicorn, LegacyUvicorn])
def web(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    server: Web = request.param(tmp_path_factory.mktemp("direct"), os.environ)
    try:
        yield server.start()
    finally:
        server.kill()


@pytest.fixture
async def socket(web: Web) -> AsyncIterator[ClientConnection]:
    # A queue of one: a client that does not ask for messages stops reading.
    async with connect(web.url.replace("http", "ws") + "/", max_queue=1, ping_interval=None) as opened:
        yield opened


@pytest.mark.parametrize("size", [1, 125, 126, 65_535, 65_536, 200_000])
async def test_a_message_of_any_length_arrives_as_it_was_written(socket: ClientConnection, size: int) -> None:
    """At each border of the frame's length field, and beyond what the kernel takes at once."""
    await socket.send(f"as long as:{size}")
    assert await socket.recv() == "é" + "x" * (size - 1)


async def test_both_ways_of_sending_keep_their_order(socket: ClientConnection) -> None:
    """What is written directly never overtakes what was sent through Daphne, nor the other way round."""
    await socket.send("in turn:300")
    assert [json.loads(await socket.recv())[0] for _ in range(300)] == list(range(300))


async def test_a_reader_that_takes_nothing_stops_the_writer_and_loses_nothing(socket: ClientConnection) -> None:
    """The flow says when it is full; what was written until then arrives whole once the reader goes on."""
    await socket.send("flood:")
    received = []
    while not str(text := await socket.recv()).startswith("wrote"):
        received.append(text)
    written = int(str(text).removeprefix("wrote "))
    assert 0 < written < MANY, "it was never told to stop"
    assert received == [CHUNK] * written


async def test_nothing_is_written_after_the_close_frame(socket: ClientConnection) -> None:
    """A message that comes too late is dropped: the close stays clean."""
    await socket.send("close:")
    with pytest.raises(ConnectionClosedError) as closed:
        await socket.recv()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 4000
