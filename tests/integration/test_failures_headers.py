"""Headers that no browser sends: whoever opens a socket with them harms nobody else.

Real: Daphne and uvicorn, raw sockets.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest

from tests.acted import ActedTask
from tests.processes import Login, Uvicorn, Web, in_this_process
from tests.web_only import WebOnly
from tests.wire import wire


@pytest.fixture(scope="module")
def running_web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[WebOnly, dict[str, Web]]]:
    own = WebOnly(tmp_path_factory.mktemp("failures-headers") / "site")
    uvicorn = Uvicorn(own.folder, own.env, name="uvicorn")
    try:
        own.start()
        yield own, {"daphne": own.web, "uvicorn": uvicorn.start()}
    finally:
        uvicorn.kill()
        own.stop()


@pytest.fixture
def servers(running_web: tuple[WebOnly, dict[str, Web]], settings: Any) -> Iterator[dict[str, Web]]:
    """Both servers of one site."""
    site, servers = running_web
    with in_this_process(settings, site.redis.url, site.prefix):
        yield servers


@pytest.fixture
def owner(running_web: tuple[WebOnly, dict[str, Web]]) -> Login:
    return running_web[0].user()


def upgrade(server: Web, header: bytes) -> bytes:
    """What a server answers to a handshake with one odd header."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as raw:
        raw.sendall(
            b"GET /ws/progress/ HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: MDAwMDAwMDAwMDAwMDAwMA==\r\nSec-WebSocket-Version: 13\r\n" + header + b"\r\n\r\n"
        )
        return raw.recv(4096)


@pytest.mark.parametrize("name", ["daphne", "uvicorn"])
async def test_a_header_that_is_no_ascii_costs_nobody_else_the_socket(
    servers: dict[str, Web], owner: Login, name: str
) -> None:
    """Sub-protocols, cookies and origins of arbitrary bytes are answered or refused, and others are served on."""
    server, task = servers[name], ActedTask(owner=str(owner.pk)).queue()
    pid = server.pid
    async with wire(server.url.replace("http", "ws", 1) + "/ws/progress/", cookie=owner.cookie) as page:
        await page.watch(task.id)
        for field in (b"Sec-WebSocket-Protocol", b"Cookie", b"Origin", b"X-Forwarded-For"):
            for value in (b"\xff\xfe", "ä, ☃".encode(), b"\x80" * 500):
                answer = upgrade(server, field + b": " + value)
                assert answer[:9] == b"HTTP/1.1 ", (field, value, answer)
        task.end()
        await page.ends(task.id)
        await page.lives()
    assert (server.alive, server.pid) == (True, pid)
