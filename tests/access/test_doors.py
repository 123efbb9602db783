"""Who gets in, at a real Daphne: the origins of pages, and how many connections somebody may have."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from progress import watch_token
from progress.origins import Origin, judge
from tests.acted import ActedTask
from tests.processes import Login, in_this_process
from tests.web_only import WebOnly
from tests.wire import headers_of, wire

LISTED = "https://app.example"
OWN, NONE, BAD = Origin.OWN, Origin.NONE, Origin.BAD
FEW = 3  # connections that one user, or one address, may have here
# Opens connections, says so, and is then killed.
CLIENT = """
import sys
from contextlib import ExitStack
from websockets.sync.client import connect
url, count, *headers = sys.argv[1:]
with ExitStack() as stack:
    for _ in range(int(count)):
        page = connect(url, additional_headers=[each.split(": ", 1) for each in headers], proxy=None)
        stack.enter_context(page).send('{"type":"ping"}')
        page.recv()
    print("open", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(scope="module")
def running_web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebOnly]:
    env = {
        "CSRF_TRUSTED_ORIGINS": LISTED,
        "PROGRESS_MAX_CONNECTIONS": str(FEW),
        "PROGRESS_MAX_JOINS": "40",
        "PROGRESS_MAX_CONNECTIONS_PER_ADDRESS": str(FEW),
        "PROGRESS_TRUSTED_PROXIES": "127.0.0.1",
    }
    own = WebOnly(tmp_path_factory.mktemp("doors") / "site", env=env)
    try:
        yield own.start()
    finally:
        own.stop()


@pytest.fixture
def web(running_web: WebOnly, settings: Any) -> Iterator[WebOnly]:
    """Redis and Daphne; this process writes to that Redis."""
    with in_this_process(settings, running_web.redis.url, running_web.prefix):
        yield running_web


@pytest.fixture(scope="module")
def owner(running_web: WebOnly) -> Login:
    return running_web.user()


# --- Origins -----------------------------------------------------------------------------------------------

# name: (host, origins, what they mean); PORT is the port of the server.
ORIGINS: dict[str, tuple[str, list[str], Origin]] = {
    "its own": ("127.0.0.1:PORT", ["http://127.0.0.1:PORT"], OWN),
    "its own over https": ("127.0.0.1:PORT", ["https://127.0.0.1:PORT"], OWN),  # nobody says which it is
    "upper case": ("LocalHost:PORT", ["HTTP://LOCALHOST:PORT"], OWN),
    "IPv6": ("[::1]:PORT", ["http://[::1]:PORT"], OWN),
    "IPv6 of another": ("[::1]:PORT", ["http://[::2]:PORT"], BAD),
    "another port": ("127.0.0.1:PORT", ["http://127.0.0.1:1"], BAD),
    "the default port": ("127.0.0.1:PORT", ["http://127.0.0.1"], BAD),
    "another scheme": ("127.0.0.1:PORT", ["ftp://127.0.0.1:PORT"], BAD),
    "null": ("127.0.0.1:PORT", ["null"], BAD),
    "doubled": ("127.0.0.1:PORT", ["http://127.0.0.1:PORT", "http://127.0.0.1:PORT"], BAD),
    "doubled, the second evil": ("127.0.0.1:PORT", ["http://127.0.0.1:PORT", "http://evil.example"], BAD),
    "a subdomain": ("localhost:PORT", ["http://sub.localhost:PORT"], BAD),
    "a longer name": ("localhost:PORT", ["http://localhost.evil.example:PORT"], BAD),
    "another name of the same": ("localhost:PORT", ["http://127.0.0.1:PORT"], BAD),
    "a dot behind it": ("localhost:PORT", ["http://localhost.:PORT"], BAD),
    "a slash behind it": ("localhost:PORT", ["http://localhost:PORT/"], BAD),
    "a user before it": ("localhost:PORT", ["http://evil@localhost:PORT"], BAD),
    "it as a user": ("localhost:PORT", ["http://localhost:PORT@evil.example"], BAD),
    "listed": ("127.0.0.1:PORT", [LISTED], OWN),
    "listed, another port": ("127.0.0.1:PORT", [f"{LISTED}:8443"], BAD),
    "listed, another scheme": ("127.0.0.1:PORT", ["http://app.example"], BAD),
    "its own host, not allowed": ("evil.example:PORT", ["http://evil.example:PORT"], BAD),
    "none": ("127.0.0.1:PORT", [], NONE),
}


@asynccontextmanager
async def page_of(web: WebOnly, host: str, origins: list[str], cookie: str) -> AsyncIterator[ClientConnection]:
    """A socket as a page with these headers would open it, wherever it believes to be."""
    headers = headers_of("", cookie, origins)
    at = {"host": "127.0.0.1", "port": web.web.port}
    async with connect(f"ws://{host}/ws/progress/", additional_headers=headers, proxy=None, **at) as connection:
        yield connection


async def meant(web: WebOnly, host: str, origins: list[str], owner: Login, task: ActedTask) -> Origin:
    """What the server takes a page for: it may use the session, it needs a token, it may nothing."""
    try:
        async with page_of(web, host, origins, owner.cookie) as page:
            await page.send(json.dumps({"type": "watch", "ids": [task.id]}))
            answer = json.loads(await asyncio.wait_for(page.recv(), 10))
            if answer["type"] == "watching":
                return Origin.OWN
            assert answer == {"type": "refused", "ids": [task.id], "code": "not_found"}
            await page.send(json.dumps({"type": "watch", "ids": [task.id], "token": watch_token(task.id)}))
            assert json.loads(await asyncio.wait_for(page.recv(), 10))["type"] == "watching"
            return Origin.NONE
    except InvalidStatus as error:  # Daphne refuses by itself what is no origin at all
        how = error.response.status_code
    except ConnectionClosed as error:
        how = error.rcvd.code if error.rcvd else 0
    assert how in (400, 403, 4403)
    return Origin.BAD


@pytest.mark.parametrize(("host", "origins", "expected"), ORIGINS.values(), ids=ORIGINS)
async def test_an_origin_decides_who_may_use_the_session(
    web: WebOnly, settings: Any, host: str, origins: list[str], expected: Origin
) -> None:
    """The same table for the rule and for a server: own or listed, the session; absent, a token; else nothing."""
    mine = web.user()
    port = str(web.web.port)
    host, origins = host.replace("PORT", port), [each.replace("PORT", port) for each in origins]
    settings.ALLOWED_HOSTS = ["localhost", "127.0.0.1", "[::1]"]
    settings.CSRF_TRUSTED_ORIGINS = [LISTED]
    headers = [(b"host", host.encode()), *((b"origin", each.encode()) for each in origins)]
    assert judge(headers) is expected
    assert await meant(web, host, origins, mine, ActedTask(owner=str(mine.pk)).queue()) is expected


# --- Limits ------------------------------------------------------------------------------------------------


async def fits(web: WebOnly, **options: Any) -> int:
    """How many connections are let in at once, now. Those that are refused are told 4429."""
    async with AsyncExitStack() as stack:
        for count in range(FEW + 1):
            page = await stack.enter_async_context(wire(web.ws, **options))
            with suppress(ConnectionClosed):  # it has been refused already
                await page.say("ping")
            await page.until(lambda page=page: page.messages or page.close_code is not None)  # type: ignore[misc]
            if page.close_code is not None:
                assert page.close_code == 4429
                return count
    return FEW + 1


async def all_given_back(web: WebOnly, **options: Any) -> None:
    """Wait until there is room for as many as ever."""
    async with asyncio.timeout(20):
        while await fits(web, **options) != FEW:  # noqa: ASYNC110 (another process gives no event)
            await asyncio.sleep(0.2)  # the server has not yet heard of the end of those that were killed


async def test_a_user_may_have_so_many_connections_and_no_more(web: WebOnly) -> None:
    """The next is accepted and closed with 4429, by which a page knows that it should come back later."""
    mine, other = web.user(), web.user()
    assert await fits(web, cookie=mine.cookie) == FEW
    async with AsyncExitStack() as stack:
        for _ in range(FEW):
            await stack.enter_async_context(wire(web.ws, cookie=mine.cookie))
        assert await fits(web, cookie=other.cookie) == FEW


async def test_clients_that_are_killed_hold_no_place(web: WebOnly) -> None:
    """A process with all of a user's connections is killed without a word; soon there is room for as many."""
    mine = web.user()
    headers = [": ".join(each) for each in headers_of(web.ws, mine.cookie, web.url)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    command = (sys.executable, "-c", CLIENT, web.ws, str(FEW), *headers)
    client = await asyncio.create_subprocess_exec(*command, **pipes)
    try:
        assert client.stdout
        assert await client.stdout.readline() == b"open\n"
        assert await fits(web, cookie=mine.cookie) == 0
    finally:
        client.kill()
        await client.communicate()
    await all_given_back(web, cookie=mine.cookie)


async def test_a_user_may_join_so_often_in_a_minute(web: WebOnly) -> None:
    """Coming and going is limited, too."""
    mine = web.user()
    for _ in range(40):
        async with wire(web.ws, cookie=mine.cookie) as page:
            await page.lives()
    async with wire(web.ws, cookie=mine.cookie) as page:
        assert await page.closes() == 4429


async def strangers(web: WebOnly, count: int, forwarded: str, stack: AsyncExitStack) -> list[ClientConnection]:
    headers = [("X-Forwarded-For", forwarded)]
    opened = [connect(web.ws, additional_headers=headers, proxy=None) for _ in range(count)]
    return [await stack.enter_async_context(each) for each in opened]


async def answers(page: ClientConnection, **message: Any) -> str | int:
    """The type of what is answered, or the code with which the server closes."""
    try:
        await page.send(json.dumps(message))
        while (kind := json.loads(await asyncio.wait_for(page.recv(), 10))["type"]) == "heartbeat":
            if message["type"] == "ping":  # to others it is no answer: it comes by itself
                break
        return str(kind)
    except ConnectionClosed as error:
        return error.rcvd.code if error.rcvd else 0


async def test_strangers_are_limited_by_the_address_that_the_proxy_saw(web: WebOnly, owner: Login) -> None:
    """Neither session nor token: so many from one address, whatever it claims. A valid token ends the counting."""
    task = ActedTask(owner=str(owner.pk)).queue()
    async with AsyncExitStack() as stack:
        first = await strangers(web, FEW, "198.51.100.7, 203.0.113.9", stack)
        assert [await answers(each, type="ping") for each in first] == ["heartbeat"] * FEW
        (over,) = await strangers(web, 1, "198.51.100.8, 203.0.113.9", stack)
        assert await answers(over, type="ping") == 4429
        (elsewhere,) = await strangers(web, 1, "203.0.113.10", stack)
        assert await answers(elsewhere, type="ping") == "heartbeat"
        assert await answers(first[0], type="watch", ids=[task.id], token=watch_token(task.id)) == "watching"
        async with asyncio.timeout(10):  # it is answered before it is no longer counted
            while await answers((await strangers(web, 1, "203.0.113.9", stack))[0], type="ping") != "heartbeat":
                pass
