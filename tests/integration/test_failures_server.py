"""What servers do to sockets of their own accord, and what a process beside or below them does.

Real: Daphne and uvicorn with their own time-outs set to seconds, Redis, the database's lock, raw sockets.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, closing
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

import progress
from tests.acted import ActedTask
from tests.complaints import complaints
from tests.deaf import deaf_reader, memory, text_frame
from tests.processes import Login, Uvicorn, Web, in_this_process, wait_until
from tests.web_only import ChosenWeb, WebOnly
from tests.wire import headers_of, wire

ZEROS = 64 * 1024 * 1024  # bytes that a small frame unpacks to
CLOSED_AFTER = 5  # seconds after which this Daphne closes every socket; a day by default
SILENT = 3  # seconds without a pong after which it cuts a client; 50 by default


class HastyDaphne(ChosenWeb):
    """Daphne that gives up silent clients, and sockets that are old, after seconds."""

    def command(self) -> Sequence[str]:
        hasty = ("--ping-interval", "1", "--ping-timeout", "2", "--websocket_timeout", str(CLOSED_AFTER))
        *program, application = super().command()
        return [*program, *hasty, application]


class PlainUvicorn(Uvicorn):
    """uvicorn as it starts without options: it unpacks compressed frames, of 16 MiB unpacked at the most."""

    def command(self) -> Sequence[str]:
        return [word for word in super().command() if word not in ("--ws-per-message-deflate", "false")]


@pytest.fixture(scope="module")
def running_web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebOnly]:
    own = WebOnly(tmp_path_factory.mktemp("failures-server") / "site")
    try:
        yield own.start()
    finally:
        own.stop()


@pytest.fixture(scope="module")
def hasty(running_web: WebOnly) -> Iterator[Web]:
    own = HastyDaphne(running_web.folder, running_web.env, name="hasty").start()
    yield own
    own.kill()


@pytest.fixture
def web(running_web: WebOnly, settings: Any) -> Iterator[WebOnly]:
    with in_this_process(settings, running_web.redis.url, running_web.prefix):
        yield running_web


@pytest.fixture(scope="module")
def owner(running_web: WebOnly) -> Login:
    return running_web.user()


def address(server: Web) -> str:
    return server.url.replace("http", "ws", 1) + "/ws/progress/"


async def test_a_client_that_answers_no_ping_is_cut_by_daphne_and_forgotten(
    web: WebOnly, hasty: Web, owner: Login
) -> None:
    """A phone without a network looks connected until then. Its tasks are left, so nothing is read for it."""
    task = ActedTask(owner=str(owner.pk)).queue()
    group = f"{web.prefix}__group__{progress.group_name(task.id)}"
    watch = json.dumps({"type": "watch", "ids": [task.id]})
    with closing(web.redis.client()) as client, deaf_reader(hasty, owner, watch) as raw:

        def listened_to() -> bool:
            ((_, count),) = client.pubsub_numsub(group)
            return bool(count)

        await asyncio.to_thread(wait_until, listened_to, 10, "the task is watched")

        def cut() -> bool:  # what the server says is read, and never answered
            try:
                return raw.recv(65536) == b""
            except TimeoutError:
                return False
            except ConnectionError:
                return True

        raw.settimeout(0.05)
        await asyncio.to_thread(wait_until, cut, SILENT + 5, "the silent client is cut")
        await asyncio.to_thread(wait_until, lambda: not listened_to(), 5, "nobody listens for it")


async def test_daphne_ends_an_old_socket_with_the_code_of_a_normal_end(
    web: WebOnly, hasty: Web, owner: Login
) -> None:
    """1000 with nothing before it: a page that took it for "finished" would freeze. Ours dials again on it."""
    task = ActedTask(owner=str(owner.pk)).queue()
    async with wire(address(hasty), cookie=owner.cookie) as page:
        await page.watch(task.id)
        assert await page.closes(CLOSED_AFTER + 5) == 1000
        assert page.all("closing") == []
    task.end()
    async with wire(address(hasty), cookie=owner.cookie) as page:
        await page.watch(task.id)
        await page.ends(task.id)


def _is_alone(database: sqlite3.Connection) -> bool:
    try:
        database.execute("PRAGMA journal_mode=DELETE")
    except sqlite3.OperationalError:
        return False
    return True


async def test_a_token_opens_a_watch_while_the_database_is_locked(web: WebOnly, owner: Login) -> None:
    """Nobody asks the database about it. A session of the same moment is looked up when the lock is gone."""
    task = ActedTask(owner=str(owner.pk)).queue()
    token = progress.watch_token(task.id)
    stranger = web.user()  # whose session nobody has looked up yet
    with closing(
        sqlite3.connect(web.data / "db.sqlite3", timeout=10, isolation_level=None, check_same_thread=False)
    ) as database:
        (mode,) = database.execute("PRAGMA journal_mode").fetchone()
        # Not while the server writes what it has just been told into the history.
        await asyncio.to_thread(wait_until, lambda: _is_alone(database), 10, "nobody else has it open")
        database.execute("BEGIN EXCLUSIVE")
        async with wire(web.ws, cookie=stranger.cookie) as waiting, wire(web.ws, origin=None) as page:
            asked = asyncio.create_task(waiting.watch(task.id))
            answer = await page.watch(task.id, token=token, seconds=5)
            assert answer["type"] == "watching"
            await page.sees(task.id, seconds=5, state="PENDING")
            assert not asked.done()
            database.execute("ROLLBACK")
            assert (await asked)["code"] == "not_found"
        database.execute(f"PRAGMA journal_mode={mode}")


async def test_clients_that_vanish_in_a_burst_leave_no_line_in_the_log(web: WebOnly, owner: Login) -> None:
    """Whoever sends to a socket that is going finds that out; it is no error."""
    task = ActedTask(owner=str(owner.pk)).queue()
    async with AsyncExitStack() as stack:
        headers = headers_of(web.ws, owner.cookie, f"http://127.0.0.1:{web.web.port}")
        opened = [await stack.enter_async_context(connect(web.ws, additional_headers=headers)) for _ in range(30)]
        for page in opened:
            await page.send(json.dumps({"type": "watch", "ids": [task.id]}))
        for step, page in enumerate(opened):
            task.run(step, 30)
            page.transport.abort()
            await asyncio.sleep(0.01)
    task.end()
    async with wire(web.ws, cookie=owner.cookie) as page:
        await page.watch(task.id)
        await page.ends(task.id)
    assert complaints(web.web.output()) == []
    assert "Traceback" not in web.web.output()


async def test_each_of_several_servers_shows_everything_and_one_may_be_killed(web: WebOnly, owner: Login) -> None:
    """What one process keeps in memory is its own sockets; the rest is in Redis."""
    other = ChosenWeb(web.folder, web.env, name="other").start()
    try:
        task = ActedTask(owner=str(owner.pk)).queue()
        async with wire(web.ws, cookie=owner.cookie) as page:
            await page.watch(task.id)
            async with wire(address(other), cookie=owner.cookie) as second:
                await second.watch(task.id)
                task.run(3, 10)
                await page.sees(task.id, current=3)
                await second.sees(task.id, current=3)
                other.kill()
                await second.closes()
            task.end()
            await page.ends(task.id)
    finally:
        other.kill()


async def test_a_compressed_bomb_closes_its_own_socket_and_costs_little(web: WebOnly, owner: Login) -> None:
    """uvicorn with its defaults unpacks up to 16 MiB; 64 MiB of zeros are refused before they are all unpacked."""
    server = PlainUvicorn(web.folder, web.env, name="plain-uvicorn").start()
    try:
        task = ActedTask(owner=str(owner.pk)).queue()
        async with wire(address(server), cookie=owner.cookie) as page:
            await page.watch(task.id)
            before = memory(server.pid)
            headers = headers_of(server.url, owner.cookie, server.url)
            async with connect(address(server), additional_headers=headers) as bomber:
                assert bomber.protocol.extensions, "uvicorn unpacks nothing by default any more"
                await bomber.send(" " * ZEROS)  # 64 KB on the wire
                with pytest.raises(ConnectionClosed) as closed:
                    await asyncio.wait_for(bomber.recv(), 10)
                assert closed.value.rcvd is not None
                assert closed.value.rcvd.code == 1009
            assert memory(server.pid) - before < ZEROS / 2
            task.end()
            await page.ends(task.id)
    finally:
        server.kill()


def test_daphne_agrees_to_no_compression(web: WebOnly, owner: Login) -> None:
    """So nothing can be unpacked there: a compressed frame is a protocol error."""
    with socket.create_connection(("127.0.0.1", web.web.port), timeout=10) as raw:
        raw.sendall(
            f"GET /ws/progress/ HTTP/1.1\r\nHost: 127.0.0.1:{web.web.port}\r\nOrigin: {web.url}\r\n"
            f"Cookie: {owner.cookie}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Key: MDAwMDAwMDAwMDAwMDAwMA==\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n".encode()
        )
        answer = raw.recv(4096)
        assert answer.startswith(b"HTTP/1.1 101")
        assert b"extensions" not in answer.lower()
        raw.sendall(text_frame("{}"))
