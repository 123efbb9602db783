"""Stopping a server is calm: each socket gets a code and a time to come back, requests are answered, it leaves."""

from __future__ import annotations

import asyncio
import json
import signal
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.acted import ActedTask
from tests.deaf import deaf_reader, is_cut
from tests.processes import Login, Uvicorn, in_this_process, wait_until
from tests.web_only import WebOnly
from tests.wire import Wire, wire

LEAVES_WITHIN = 10.0  # seconds, whoever is connected
AT_ONCE = 2.0  # seconds, when nobody is
# What each server ends with when it is stopped and nobody chained its handler.
STATUS = {"daphne": 0, "uvicorn": -signal.SIGTERM}
SHIPPED = "project.asgi:application"


@pytest.fixture(scope="module", params=["daphne", "uvicorn"])
def running_web(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebOnly]:
    own = WebOnly(tmp_path_factory.mktemp(request.param) / "site", settings="tests.slow_settings")
    if request.param == "uvicorn":
        own.web = Uvicorn(own.folder, own.env)  # type: ignore[assignment]
    own.web.application = SHIPPED
    own.web.name = request.param
    try:
        yield own.start()
    finally:
        own.stop()


@pytest.fixture
def web(running_web: WebOnly, settings: Any) -> Iterator[WebOnly]:
    """Redis and a server that has just been started."""
    if not running_web.web.alive:
        running_web.web.start()
    with in_this_process(settings, running_web.redis.url, running_web.prefix):
        yield running_web


@pytest.fixture
def owner(running_web: WebOnly) -> Login:
    return running_web.user()


async def pages(stack: AsyncExitStack, web: WebOnly, owner: Login, count: int) -> list[Wire]:
    return [await stack.enter_async_context(wire(web.ws, cookie=owner.cookie)) for _ in range(count)]


async def ends(web: WebOnly, seconds: float = LEAVES_WITHIN) -> int:
    """The status with which it ends by itself."""
    await asyncio.to_thread(wait_until, lambda: not web.web.alive, seconds, "the server has left")
    assert web.web.returncode is not None
    return web.web.returncode


def get(web: WebOnly, path: str) -> bytes:
    with urllib.request.urlopen(web.url + path, timeout=20) as answer:
        body: bytes = answer.read()
        return body


async def under_way(web: WebOnly, path: str) -> asyncio.Task[bytes]:
    """A request that is being handled."""
    asking = asyncio.create_task(asyncio.to_thread(get, web, path))
    await asyncio.to_thread(wait_until, lambda: f"{path} has begun" in web.web.output(), 10, "it is handled")
    return asking


# --- Sockets -----------------------------------------------------------------------------------------------


async def test_every_socket_gets_a_code_and_its_own_time_to_come_back(web: WebOnly, owner: Login) -> None:
    """200 of 200 get `closing` and a close frame with 4012; they come back evenly over five seconds."""
    task = ActedTask(owner=str(owner.pk)).queue()
    async with AsyncExitStack() as stack:
        watching = await pages(stack, web, owner, 200)
        for page in watching:
            await page.watch(task.id)
        web.web.signal(signal.SIGTERM)
        assert Counter([await page.closes() for page in watching]) == {4012: 200}
        told = [page.all("closing", code=4012) for page in watching]
        assert [len(each) for each in told] == [1] * 200
        retries = sorted(each[0]["retry_ms"] for each in told)
        assert retries[0] >= 500
        assert retries[-1] <= 5500
        assert max(Counter(retry // 500 for retry in retries).values()) <= 22  # a tenth, and what a border adds
        assert await ends(web) == STATUS[web.web.name]
    assert "Traceback" not in web.web.output()


async def test_who_comes_meanwhile_is_sent_away_in_the_same_way(web: WebOnly, owner: Login, tmp_path: Path) -> None:
    """While a request is still being handled the port is open: a new socket gets `closing` and 4012."""
    gate = tmp_path / "gate"
    asking = await under_way(web, f"/holds?path={gate}")
    async with AsyncExitStack() as stack:
        (before,) = await pages(stack, web, owner, 1)
        web.web.signal(signal.SIGTERM)
        assert await before.closes() == 4012
        (late,) = await pages(stack, web, owner, 1)
        assert await late.closes() == 4012
        assert late.all("closing")[0]["retry_ms"] > 0
    gate.touch()
    assert await asking == b"held"
    assert await ends(web) == STATUS[web.web.name]


async def test_a_reader_that_takes_nothing_delays_nobody(web: WebOnly, owner: Login) -> None:
    """It gets two seconds for its last message and is cut; the others are told at once."""
    tasks = [ActedTask(owner=str(owner.pk)).queue() for _ in range(20)]
    watch = json.dumps({"type": "watch", "ids": [task.id for task in tasks]})
    async with wire(web.ws, cookie=owner.cookie) as page:
        await page.watch(*(task.id for task in tasks))
        with deaf_reader(web.web, owner, watch) as raw:
            for step in range(1, 151):
                for task in tasks:
                    task.reporter.update(message="m" * 700)
                    task.run(step, 200)
                await page.sees(tasks[-1].id, current=step, seconds=5)
            assert not is_cut(raw)
            web.web.signal(signal.SIGTERM)
            assert await page.closes(1.5) == 4012
            assert await ends(web, 8) == STATUS[web.web.name]
            assert is_cut(raw)


async def test_who_never_answers_the_close_frame_delays_nobody(web: WebOnly, owner: Login) -> None:
    """It has read everything and says nothing: after two seconds it is not waited for."""
    task = ActedTask(owner=str(owner.pk)).queue()
    with deaf_reader(web.web, owner, json.dumps({"type": "watch", "ids": [task.id]})) as raw:
        await asyncio.to_thread(wait_until, lambda: task.id.encode() in raw.recv(65536), 10, "it watches")
        web.web.signal(signal.SIGTERM)
        assert await ends(web, 4) == STATUS[web.web.name]


# --- Requests ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["waits", "works"])
async def test_a_request_under_way_is_answered(web: WebOnly, kind: str) -> None:
    """In the event loop or in a thread: what has begun is answered before the server leaves."""
    asking = await under_way(web, f"/{kind}?seconds=2.5")
    web.web.signal(signal.SIGTERM)
    assert await asking in (b"waited", b"worked")
    assert await ends(web) == STATUS[web.web.name]


async def test_a_thread_that_does_not_end_is_named_and_left_behind(web: WebOnly) -> None:
    """A view that waits for something for a minute does not keep the process longer than ten seconds."""
    asking = await under_way(web, "/works?seconds=60")
    web.web.signal(signal.SIGTERM)
    assert await ends(web) == 128 + signal.SIGTERM
    assert "Still here 9 s after SIGTERM" in web.web.output()
    assert isinstance((await asyncio.gather(asking, return_exceptions=True))[0], OSError)


# --- The signal itself -------------------------------------------------------------------------------------


@pytest.mark.parametrize("asked_before", [False, True], ids=["never called", "called"])
async def test_with_nobody_connected_it_leaves_at_once(web: WebOnly, asked_before: bool) -> None:
    """With the status that the server has of itself, whether or not the signal was ever ours."""
    if asked_before:
        await asyncio.to_thread(get, web, "/healthz")
    began = time.monotonic()
    web.web.signal(signal.SIGTERM)
    assert await ends(web) == STATUS[web.web.name]
    assert time.monotonic() - began < AT_ONCE + 1


async def test_a_second_signal_waits_for_nobody(web: WebOnly, owner: Login) -> None:
    """Whoever asks twice means it: sockets and requests are dropped, and the process is gone within two seconds."""
    async with wire(web.ws, cookie=owner.cookie) as page:
        await page.lives()
        asking = await under_way(web, "/works?seconds=60")
        web.web.signal(signal.SIGTERM)
        assert await page.closes() == 4012
        assert web.web.alive
        web.web.signal(signal.SIGTERM)
        assert await ends(web, 2) == 128 + signal.SIGTERM
    assert isinstance((await asyncio.gather(asking, return_exceptions=True))[0], OSError)


# --- Coming back -------------------------------------------------------------------------------------------


async def test_two_hundred_sockets_of_a_user_cost_one_look_into_the_database(
    web: WebOnly, owner: Login, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They all come back to a new process at once: its session and its user are read once, not 200 times."""
    web.web.kill()
    monkeypatch.setattr(web.web, "application", "tests.counted_asgi:application")
    await asyncio.to_thread(web.web.start)
    try:
        async with AsyncExitStack() as stack:
            connecting = (stack.enter_async_context(wire(web.ws, cookie=owner.cookie)) for _ in range(200))
            task = ActedTask(owner=str(owner.pk)).queue()
            back = await asyncio.gather(*connecting)
            await asyncio.gather(*(page.watch(task.id) for page in back))
            assert [page.all("refused") for page in back] == [[]] * 200
            lines = web.web.output().splitlines()
            # The recorder's are no one's who connects.
            said = [line for line in lines if line.startswith("SQL SELECT") and "task_progress_taskrun" not in line]
            assert len([line for line in said if '"django_session"' in line]) == 1
            assert len([line for line in said if '"auth_user"' in line]) == 1
            assert len(said) == 2
    finally:
        web.web.kill()
