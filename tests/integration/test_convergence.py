"""Whatever is lost on the way, a connected watcher shows the true end, and no socket is dropped for it."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import threading
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager, suppress
from typing import Any

import pytest

import progress
from progress import subscription
from progress.exceptions import StoreUnavailable
from tasks.tasks import countdown
from tests.acted import ActedTask
from tests.deaf import ask_until_cut, deaf_reader, is_cut, memory
from tests.processes import Login, Site, in_this_process, wait_until
from tests.tcp_proxy import TcpProxy
from tests.web_only import WebOnly
from tests.wire import Wire, until, wire

SWEEP = 4.0 + 1.5  # seconds: the longest a lost push may cost, with some time for the way


@contextmanager
def proxy_thread(port: int) -> Iterator[tuple[TcpProxy, asyncio.AbstractEventLoop]]:
    """A proxy with an event loop of its own, so that it works while the test blocks."""
    loop, proxy = asyncio.new_event_loop(), TcpProxy(port)
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(proxy.start(), loop).result(5)
        yield proxy, loop
        asyncio.run_coroutine_threadsafe(proxy.stop(), loop).result(5)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


class ProxiedWeb(WebOnly):
    """Daphne whose channel layer reaches Redis through `proxy`. The records take the direct way."""

    proxy: TcpProxy
    loop: asyncio.AbstractEventLoop

    def cut(self) -> None:
        """Reset all connections of the layer."""
        self.loop.call_soon_threadsafe(self.proxy.cut)


@pytest.fixture(scope="module")
def running_web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProxiedWeb]:
    own = ProxiedWeb(tmp_path_factory.mktemp("convergence") / "site", settings="tests.proxied_settings")
    with proxy_thread(own.redis.port) as (own.proxy, own.loop):
        own.web.env["LAYER_URL"] = f"redis://127.0.0.1:{own.proxy.port}/0"
        try:
            yield own.start()
        finally:
            own.stop()


@pytest.fixture
def web(running_web: ProxiedWeb, settings: Any) -> Iterator[ProxiedWeb]:
    """Redis, and a Daphne whose layer has a bad network, which is good again after the test."""
    with in_this_process(settings, running_web.redis.url, running_web.prefix):
        try:
            yield running_web
        finally:
            running_web.proxy.up = running_web.proxy.down = 0
            running_web.proxy.swallow = False
            running_web.cut()


@pytest.fixture(scope="module")
def owner(running_web: ProxiedWeb) -> Login:
    return running_web.user()


def acted(owner: Login, **options: Any) -> ActedTask:
    return ActedTask(owner=str(owner.pk), **options).queue()


async def pages(stack: AsyncExitStack, web: WebOnly, owner: Login, count: int) -> list[Wire]:
    return [await stack.enter_async_context(wire(web.ws, cookie=owner.cookie)) for _ in range(count)]


async def save(task: ActedTask, current: float, final: bool = False) -> None:
    """Write as a worker does: again until Redis takes it."""

    def written() -> bool:
        try:
            _ = task.end() if final else task.run(current, 10)
        except StoreUnavailable:
            return False
        return True

    await asyncio.to_thread(wait_until, written, 15, "Redis takes a write")


# --- Lost on the way ---------------------------------------------------------------------------------------


async def test_an_end_between_joining_and_its_effect_is_shown(web: ProxiedWeb, owner: Login) -> None:
    """50 joins over a slow subscriber link (50-200 ms), each with an end that is pushed before the subscription
    is live: every watcher shows the end within 2.5 s.
    """
    loop = asyncio.get_running_loop()
    missed = 0
    delays: list[float] = []
    async with AsyncExitStack() as stack:
        (page,) = await pages(stack, web, owner, 1)
        with web.redis.client() as client:

            async def join(number: int) -> None:
                nonlocal missed
                task = acted(owner).run(1, 2)
                await page.watch(task.id)
                (_, listening), *_ = client.pubsub_numsub(f"{web.prefix}__group__{progress.group_name(task.id)}")
                missed += not listening
                task.end()
                began = loop.time()
                await page.ends(task.id, seconds=2.5)
                delays.append(loop.time() - began)

            for start in range(0, 50, 10):
                web.proxy.up = web.proxy.down = 0.05 + 0.15 * start / 40
                await asyncio.gather(*(join(number) for number in range(start, start + 10)))
    assert missed >= 40, "the pushes were to be lost, but most were received: the test tests nothing"
    assert len(delays) == 50


async def test_a_write_that_nobody_announced_is_shown_within_one_sweep(web: ProxiedWeb, owner: Login) -> None:
    """A lost push costs seconds, never a frozen bar."""
    tasks = [acted(owner, hints=False) for _ in range(20)]
    async with wire(web.ws, cookie=owner.cookie) as page:
        await page.watch(*(task.id for task in tasks))
        for task in tasks:
            await page.sees(task.id, state="PENDING")
            task.end()
        await page.ends(*(task.id for task in tasks), seconds=SWEEP)


async def test_a_layer_that_is_silent_costs_one_sweep(web: ProxiedWeb, owner: Login) -> None:
    """While the layer's link swallows everything, joins and ends are still shown, and no socket is dropped."""
    before = acted(owner).run(1, 2)
    async with wire(web.ws, cookie=owner.cookie) as page:
        await page.watch(before.id)
        await page.sees(before.id, current=1)
        web.proxy.swallow = True
        before.end()
        later = acted(owner).run(1, 2)
        await page.watch(later.id)
        await page.sees(later.id, current=1, seconds=SWEEP)
        later.end()
        await page.ends(before.id, later.id, seconds=SWEEP)
        await page.lives()


async def test_after_the_layer_was_cut_pushes_flow_again(web: ProxiedWeb, owner: Login) -> None:
    """A reset of the layer's connections drops no socket; soon pushes arrive as quickly as before."""
    loop = asyncio.get_running_loop()
    task = acted(owner).run(1, 10)
    async with wire(web.ws, cookie=owner.cookie) as page:
        await page.watch(task.id)
        await page.sees(task.id, current=1)
        group = f"{web.prefix}__group__{progress.group_name(task.id)}"
        with web.redis.client() as client:
            links = web.proxy.accepted
            web.cut()
            await asyncio.to_thread(wait_until, lambda: web.proxy.accepted > links, 5, "a new connection")
            task.run(2, 10)
            await page.sees(task.id, current=2, seconds=SWEEP)
            await asyncio.to_thread(wait_until, lambda: client.pubsub_numsub(group)[0][1] == 1, 10, "a new join")
        task.run(3, 10)
        await page.sees(task.id, current=3)  # by a push or not: the layer takes a second after a reset
        task.run(4, 10)
        began = loop.time()
        await page.sees(task.id, current=4)
        assert loop.time() - began < 0.5


async def test_a_dead_receiver_inside_the_layer_is_replaced(redis_url: str, monkeypatch: Any) -> None:
    """channels_redis restarts its receiving task only if there is none; ours notices and takes a new instance."""
    monkeypatch.setattr(subscription, "CANARY_INTERVAL", 0.1)
    events: list[Any] = []
    renewed: list[int] = []
    ours = subscription.Subscription(events.append, lambda: renewed.append(1))
    running = asyncio.create_task(ours.run())
    try:
        await ours.wait_connected()
        await ours.join("g")
        await until(lambda: ours._heard > 1)
        dead = ours._layer
        for shard in dead._shards:
            shard._receive_task.cancel()
        await until(lambda: len(renewed) == 2)
        assert ours._layer is not dead
        await until(lambda: ours._heard == ours._canary)
        await ours.send("g", {"type": "t"})
        await until(lambda: events == [{"type": "t"}])
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await ours._layer.flush()
        with suppress(asyncio.CancelledError):
            await dead.flush()


# --- Redis in trouble --------------------------------------------------------------------------------------


async def test_killed_subscriptions_converge(web: ProxiedWeb, owner: Login) -> None:
    """CLIENT KILL TYPE pubsub under 20 open sockets, with ends in the gap: all converge, none is dropped."""
    tasks = [acted(owner).run(1, 2) for _ in range(20)]
    async with AsyncExitStack() as stack:
        watching = await pages(stack, web, owner, 20)
        for page in watching:
            await page.watch(*(task.id for task in tasks))
        with web.redis.client() as client:
            for task in tasks:
                client.client_kill_filter(_type="pubsub")
                task.end()
        for page in watching:
            await page.ends(*(task.id for task in tasks), seconds=10)
        assert [page.close_code for page in watching] == [None] * 20


async def test_a_flushed_redis_converges(web: ProxiedWeb, owner: Login) -> None:
    """FLUSHALL loses every record; the next write of each task brings it back, and no bar goes back."""
    tasks = [acted(owner) for _ in range(5)]
    async with wire(web.ws, cookie=owner.cookie) as page:
        for task in tasks:
            await page.watch(task.id)
            task.run(4, 10)
            await page.sees(task.id, current=4)
        with web.redis.client() as client:
            client.flushall()
        for task in tasks:
            task.run(5, 10)
            await page.sees(task.id, current=5, seconds=SWEEP)
            task.end()
        await page.ends(*(task.id for task in tasks), seconds=SWEEP)


async def test_a_restarted_redis_converges(web: ProxiedWeb, owner: Login) -> None:
    """Redis is killed, stays away for two seconds and comes back empty: 0 of 20 sockets dropped, all right ≤ 10 s."""
    running, ending = acted(owner).run(3, 10), acted(owner).run(3, 10)
    async with AsyncExitStack() as stack:
        watching = await pages(stack, web, owner, 20)
        for page in watching:
            await page.watch(running.id, ending.id)
            await page.sees(ending.id, current=3)
        await asyncio.to_thread(web.redis.kill)
        away = asyncio.create_task(save(ending, 10, final=True))  # it ends while Redis is away
        await asyncio.sleep(2)
        await asyncio.to_thread(web.redis.start)
        await away
        await save(running, 4)
        for page in watching:
            await page.ends(ending.id, seconds=10)
            await page.sees(running.id, current=4, seconds=10)
        assert [page.close_code for page in watching] == [None] * 20
        await save(running, 10, final=True)
        for page in watching:
            await page.ends(running.id, seconds=10)


async def test_who_comes_while_redis_is_away_is_told_when_to_come_again(web: ProxiedWeb, owner: Login) -> None:
    """A watch that cannot be served ends in `closing` with a retry time and code 4012, not in an error."""
    task = acted(owner)
    web.redis.suspend()
    try:
        async with wire(web.ws, cookie=owner.cookie) as page:
            await page.say("watch", ids=[task.id])
            closing = await page.told("closing", code=4012, seconds=10)
            assert 0 < closing["retry_ms"] <= 10_000
            assert await page.closes() == 4012
    finally:
        web.redis.resume()
    async with wire(web.ws, cookie=owner.cookie) as page:
        await page.watch(task.id)
        await page.sees(task.id, state="PENDING")


# --- Daphne killed -----------------------------------------------------------------------------------------


async def test_a_client_that_comes_back_to_a_new_process_is_right(web: ProxiedWeb, owner: Login) -> None:
    """Daphne is killed and started again while a task ends: who connects again sees the end at once."""
    task = acted(owner).run(1, 2)
    async with wire(web.ws, cookie=owner.cookie) as page:
        await page.watch(task.id)
        await page.sees(task.id, current=1)
        await asyncio.to_thread(web.web.kill)
        assert await page.closes() == 1006
        seen = page.shown[task.id]["seq"]
    task.end()
    await asyncio.to_thread(web.web.start)
    async with wire(web.ws, cookie=owner.cookie) as page:
        await page.watch(task.id)
        assert (await page.sees(task.id, final=True))["seq"] > seen


async def test_a_stopped_server_says_nothing_wrong(web: ProxiedWeb, owner: Login) -> None:
    """SIGTERM with open sockets ends Daphne within 5 s, without a traceback."""
    task = acted(owner)
    loop = asyncio.get_running_loop()
    try:
        async with AsyncExitStack() as stack:
            for page in await pages(stack, web, owner, 10):
                await page.watch(task.id)
            said = len(web.web.output())
            began = loop.time()
            await asyncio.to_thread(web.web.stop)
            assert loop.time() - began < 5
        assert "Traceback" not in web.web.output()[said:]
    finally:
        await asyncio.to_thread(web.web.restart)


# --- Readers that do not read ------------------------------------------------------------------------------


async def test_a_reader_that_does_not_read_is_cut_and_delays_nobody(web: ProxiedWeb, owner: Login) -> None:
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
            # How much it takes until nothing more fits is the system's matter.
            async with asyncio.timeout(20):
                for step in itertools.count(151):
                    if await asyncio.to_thread(is_cut, raw):
                        break
                    for task in tasks:
                        task.run(step, 10_000)
                    await page.sees(tasks[-1].id, current=step, seconds=5)
        assert "took nothing for 2 s" in web.web.output()
        assert slowest < 1
        assert memory(web.web.pid) - before < 16e6
        await page.lives()


async def test_a_client_that_asks_and_does_not_read_is_cut(web: ProxiedWeb, owner: Login) -> None:
    """Answers are bounded too: who asks on and on without reading is cut, whatever he asks for."""
    task = acted(owner)
    await task.log(*("x" * 500 for _ in range(200)))
    before = memory(web.web.pid)
    with deaf_reader(web.web, owner) as raw:
        await asyncio.to_thread(ask_until_cut, raw, {"type": "logs", "id": task.id, "pad": "x" * 200})
    assert "took nothing for 2 s" in web.web.output()
    assert memory(web.web.pid) - before < 16e6


# --- A real worker -----------------------------------------------------------------------------------------


async def test_a_thousand_brief_tasks_all_end_in_watchers_that_join_at_random(site: Site) -> None:
    """1 000 tasks of a millisecond, joined at random moments by 20 pages: every end is shown, none is doubled."""
    owner = site.user()
    count = 1000
    ids: list[str] = []

    def send() -> None:
        with progress.owner(owner.pk):
            for _ in range(count):
                ids.append(countdown.delay(seconds=0, steps=1).id)

    chance = random.Random(20)
    sending = asyncio.create_task(asyncio.to_thread(send))

    async def follow(page: Wire, numbers: range) -> None:
        for number in numbers:
            await asyncio.to_thread(wait_until, lambda number=number: len(ids) > number, 30, "it is sent")
            await asyncio.sleep(chance.random() * 0.05)
            await page.say("watch", ids=[ids[number]])
        await page.ends(*(ids[number] for number in numbers), seconds=35)

    async with AsyncExitStack() as stack:
        watching = [await stack.enter_async_context(wire(site.ws, cookie=owner.cookie)) for _ in range(20)]
        await asyncio.gather(*(follow(page, range(n, count, 20)) for n, page in enumerate(watching)))
        await sending
        shown = {key: snap for page in watching for key, snap in page.shown.items()}
        assert len(shown) == count
        assert {(snap["state"], snap["attempt"]) for snap in shown.values()} == {("SUCCESS", 1)}
        assert [page.all("refused") for page in watching] == [[]] * 20
        ends = [page.states[key].count("SUCCESS") for page in watching for key in page.states]
        assert set(ends) <= {1, 2}  # the join's own reading may repeat what a push has just said
