"""The same sockets on uvicorn: they show what is true, one that does not read hurts nobody, the server leaves."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from tests.acted import ActedTask
from tests.deaf import ask_until_cut, deaf_reader, is_cut, memory
from tests.processes import Login, Uvicorn, in_this_process, wait_until
from tests.web_only import WebOnly
from tests.wire import wire

LEAVES_WITHIN = 10.0  # seconds, as promised


class QuickUvicorn(Uvicorn):
    """uvicorn with two seconds of patience instead of thirty."""

    application = "tests.quick_asgi:application"


class UvicornSite(WebOnly):
    """Redis and uvicorn."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.web = QuickUvicorn(self.folder, self.env)


@pytest.fixture(scope="module")
def running_web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[UvicornSite]:
    own = UvicornSite(tmp_path_factory.mktemp("uvicorn") / "site")
    try:
        yield own.start()
    finally:
        own.stop()


@pytest.fixture
def web(running_web: UvicornSite, settings: Any) -> Iterator[UvicornSite]:
    """Redis and uvicorn; it has written no error when the test is over."""
    if not running_web.web.alive:
        running_web.web.start()
    with in_this_process(settings, running_web.redis.url, running_web.prefix):
        yield running_web
    assert [line for line in running_web.web.output().splitlines() if "ERROR" in line or "Traceback" in line] == []


@pytest.fixture
def owner(running_web: UvicornSite) -> Login:
    return running_web.user()


def acted(owner: Login) -> ActedTask:
    return ActedTask(owner=str(owner.pk)).queue()


async def test_a_page_sees_every_step_to_the_end(web: UvicornSite, owner: Login) -> None:
    """From queued to success, over a real socket."""
    task = acted(owner)
    async with wire(web.ws, cookie=owner.cookie) as page:
        await page.watch(task.id)
        await page.sees(task.key, state="PENDING")
        for step in range(1, 6):
            task.run(step, 5)
            await page.sees(task.key, state="PROGRESS", current=step)
        task.end()
        await page.sees(task.key, state="SUCCESS", fraction=1, final=True)


async def test_a_reader_that_does_not_read_is_cut_and_delays_nobody(web: UvicornSite, owner: Login) -> None:
    """It costs little memory whatever the rate, is cut after its patience (2 s here), others see the newest."""
    loop = asyncio.get_running_loop()
    tasks = [acted(owner) for _ in range(20)]
    watch = json.dumps({"type": "watch", "ids": [task.id for task in tasks]})
    async with wire(web.ws, cookie=owner.cookie) as page:
        await page.watch(*(task.id for task in tasks))
        before = memory(web.web.pid)
        with deaf_reader(web.web, owner, watch) as raw:
            slowest = 0.0
            for step in range(1, 151):
                for task in tasks:
                    task.reporter.update(message="m" * 700)
                    task.run(step, 200)
                began = loop.time()
                await page.sees(tasks[-1].id, current=step, seconds=5)
                slowest = max(slowest, loop.time() - began)
            await asyncio.to_thread(wait_until, lambda: is_cut(raw), 10, "the deaf reader is cut")
        assert "took nothing for 2 s" in web.web.output()
        assert slowest < 1
        assert memory(web.web.pid) - before < 16e6
        await page.lives()


async def test_a_client_that_asks_and_does_not_read_is_cut(web: UvicornSite, owner: Login) -> None:
    """Answers are bounded too: who asks on and on without reading is cut, whatever he asks for."""
    task = acted(owner)
    await task.log(*("x" * 500 for _ in range(200)))
    before = memory(web.web.pid)
    with deaf_reader(web.web, owner) as raw:
        await asyncio.to_thread(ask_until_cut, raw, {"type": "logs", "id": task.id, "pad": "x" * 200})
    assert "took nothing for 2 s" in web.web.output()
    assert memory(web.web.pid) - before < 16e6


async def test_it_leaves_at_once_and_says_so_to_every_page(web: UvicornSite, owner: Login) -> None:
    """SIGTERM with twenty open sockets: each gets a close frame (4012), the process is gone in time."""
    task = acted(owner)
    async with AsyncExitStack() as stack:
        pages = [await stack.enter_async_context(wire(web.ws, cookie=owner.cookie)) for _ in range(20)]
        for page in pages:
            await page.watch(task.id)
        began = time.monotonic()
        left = asyncio.create_task(asyncio.to_thread(web.web.stop, 10))
        assert [await page.closes() for page in pages] == [4012] * 20
        await left
        assert time.monotonic() - began < LEAVES_WITHIN


async def test_a_reader_that_does_not_read_does_not_keep_it_from_leaving(web: UvicornSite, owner: Login) -> None:
    """SIGTERM while `send` waits for somebody: he is cut, and the process leaves in time."""
    tasks = [acted(owner) for _ in range(20)]
    watch = json.dumps({"type": "watch", "ids": [task.id for task in tasks]})
    async with wire(web.ws, cookie=owner.cookie) as page:
        await page.watch(*(task.id for task in tasks))
        with deaf_reader(web.web, owner, watch) as raw:
            for step in range(1, 121):
                for task in tasks:
                    task.reporter.update(message="m" * 700)
                    task.run(step, 200)
                await page.sees(tasks[-1].id, current=step, seconds=5)
            assert not is_cut(raw)
            began = time.monotonic()
            await asyncio.to_thread(web.web.stop, 20)
            assert time.monotonic() - began < LEAVES_WITHIN
            assert is_cut(raw)
