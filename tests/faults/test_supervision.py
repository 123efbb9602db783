"""A server process that hears nothing notices and mends it. It leaves if it is told to and nothing else helps."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, closing, suppress
from typing import Any

import pytest
from channels.layers import channel_layers

import progress
from progress import subscription, watchdog
from progress.counters import counters
from progress.subscription import Subscription
from tests.acted import ActedTask
from tests.processes import ROOT, Login, in_this_process, wait_until
from tests.tcp_proxy import tcp_proxy
from tests.web_only import WebOnly
from tests.wire import Wire, until, wire

CONVERGES = 10.0  # seconds


# --- The faults upstream, and ours -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("whose", "outcome"), [("theirs", "dead"), ("ours", "alive after"), ("workers", "alive after")]
)
def test_a_link_that_breaks_without_a_word_kills_the_layers_loop_and_not_ours(
    redis_url: str, whose: str, outcome: str
) -> None:
    """The layer takes `ETIMEDOUT` for "no message yet", for ever; our receiver connects again.

    When the first half of this fails, channels_redis or redis-py was mended: look whether `patient_receiver` is
    still needed.
    """
    done = subprocess.run(
        [sys.executable, "-m", "tests.silent_link", redis_url, whose],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert done.stdout.strip() == outcome, done.stderr


class Once:
    """Raises what escaped once from `get_message`, then does what the real one does."""

    def __init__(self, real: Callable[..., Any]) -> None:
        self.real, self.raised = real, False

    async def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not self.raised:
            self.raised = True
            raise TimeoutError
        return await self.real(*args, **kwargs)


async def test_an_error_that_ends_the_layers_receiver_does_not_end_ours(redis_url: str) -> None:
    """A `TimeoutError` that escapes ends the layer's receiving task for good; ours goes on within a second."""
    for ours in (False, True):
        layer = channel_layers.make_backend("default")
        if ours:
            subscription.receive_patiently(layer, lambda: None)
        channel = await layer.new_channel()
        (shard,) = layer._get_layer()._shards
        raising = shard._pubsub.get_message = Once(shard._pubsub.get_message)
        await until(lambda raising=raising: raising.raised)
        await layer.group_add("g", channel)  # this is where the layer starts a receiver, if it has none
        await layer.send(channel, {"type": "t"})
        if ours:
            assert (await asyncio.wait_for(layer.receive(channel), 2))["type"] == "t"
        else:
            await until(lambda shard=shard: shard._receive_task.done())
            assert isinstance(shard._receive_task.exception(), TimeoutError)
            shard._receive_task = None  # else `flush` raises what ended it, and closes nothing
        await layer.flush()


@asynccontextmanager
async def subscribed(heard: list[Any], renewed: list[int]) -> AsyncIterator[Subscription]:
    """A running subscription of this process that is in the group "g"."""
    ours = Subscription(heard.append, lambda: renewed.append(1))
    running = asyncio.create_task(ours.run())
    try:
        await ours.wait_connected()
        await ours.join("g")
        await until(lambda: ours._heard > 0)
        yield ours
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await ours._layer.flush()


async def test_a_killed_connection_is_told_to_who_listens(redis_url: str) -> None:
    """redis-py connects again by itself and says nothing of the gap; we say it, and count no new receiver."""
    heard: list[Any] = []
    renewed: list[int] = []
    before = counters.receivers_replaced
    async with subscribed(heard, renewed) as ours:
        with closing(redis_client(redis_url)) as client:
            client.client_kill_filter(_type="pubsub")
        await until(lambda: len(renewed) == 2)
        await until(lambda: not heard.clear() and ours._heard == ours._canary, 5)
        await ours.send("g", {"type": "t"})
        await until(lambda: heard == [{"type": "t"}])
    assert counters.receivers_replaced == before


async def test_whoever_hears_nothing_lets_the_process_compute(redis_url: str) -> None:
    """A look for a message takes Python's lock from a task that computes: a few a second, not ten as in the layer."""
    looks: list[float] = []
    async with subscribed([], []) as ours:
        (shard,) = ours._layer._get_layer()._shards
        get_message = shard._pubsub.get_message

        def counted(*args: Any, **kwargs: Any) -> Any:
            looks.append(time.monotonic())
            return get_message(*args, **kwargs)

        shard._pubsub.get_message = counted
        heard = ours._heard
        await until(lambda: ours._heard >= heard + 2, 3 * subscription.CANARY_INTERVAL)
    assert 2 <= len(looks) <= 10


async def test_a_half_open_link_is_replaced_within_ten_seconds(redis_url: str, settings: Any) -> None:
    """All connections of our instance go silent while new ones work: sending hangs, and a new instance is taken."""
    port = int(redis_url.rsplit(":", 1)[1].partition("/")[0])
    before = counters.receivers_replaced
    async with tcp_proxy(port) as proxy:
        host = {"address": f"redis://127.0.0.1:{proxy.port}/0", "socket_keepalive": False}
        layer = settings.CHANNEL_LAYERS["default"]
        settings.CHANNEL_LAYERS = {"default": {**layer, "CONFIG": {**layer["CONFIG"], "hosts": [host]}}}
        heard: list[Any] = []
        async with subscribed(heard, []) as ours:
            half_open = ours._layer
            proxy.swallow_present()
            await until(lambda: ours._layer is not half_open and bool(ours._channel), CONVERGES)
            assert not ours.hearing().deaf
            await until(lambda: ours._heard == ours._canary)
            await ours.send("g", {"type": "t"})
            await until(lambda: heard == [{"type": "t"}])
            with suppress(Exception):
                await half_open.flush()
    assert counters.receivers_replaced == before + 1


def redis_client(url: str) -> Any:
    import redis

    return redis.Redis.from_url(url)


# --- A real server -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def running_web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebOnly]:
    folder = tmp_path_factory.mktemp("supervision") / "site"
    own = WebOnly(folder, settings="tests.slow_settings", env={"PROGRESS_EXIT_WHEN_DEAF": "true"})
    own.web.application = "project.asgi:application"
    try:
        yield own.start()
    finally:
        own.stop()


@pytest.fixture
def web(running_web: WebOnly, settings: Any) -> Iterator[WebOnly]:
    """Redis and a Daphne that leaves when it is deaf: it has not, when the test is over."""
    if not running_web.web.alive:
        running_web.web.start()
    with in_this_process(settings, running_web.redis.url, running_web.prefix):
        yield running_web


@pytest.fixture
def owner(running_web: WebOnly) -> Login:
    return running_web.user()


def health(web: WebOnly, seconds: float = 5) -> tuple[int, str]:
    """Status and text of `/healthz`; 0 if there is no answer."""
    try:
        with urllib.request.urlopen(f"{web.url}/healthz", timeout=seconds) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()
    except OSError as error:
        return 0, repr(error)


async def watched(stack: AsyncExitStack, web: WebOnly, owner: Login) -> tuple[Wire, ActedTask]:
    """A page that watches a running task, and whose server hears itself."""
    page = await stack.enter_async_context(wire(web.ws, cookie=owner.cookie))
    task = ActedTask(owner=str(owner.pk)).queue().run(1, 10)
    await page.watch(task.id)
    await page.sees(task.id, current=1)
    await asyncio.to_thread(wait_until, lambda: "canary_age_seconds" in health(web)[1], 5, "a canary came back")
    return page, task


async def converges(page: Wire, task: ActedTask) -> None:
    task.end()
    await page.ends(task.id, seconds=CONVERGES)


async def test_a_process_without_sockets_is_healthy(web: WebOnly) -> None:
    """There is nothing that it could fail to hear."""
    web.web.restart()
    assert health(web) == (200, "ok\n")


async def test_a_stalled_redis_makes_nobody_unhealthy(web: WebOnly, owner: Login) -> None:
    """Frozen for 12 s: the health check is answered all the time, the socket stays, and is right afterwards."""
    async with AsyncExitStack() as stack:
        page, task = await watched(stack, web, owner)
        web.redis.suspend()
        try:
            until_then = time.monotonic() + 12
            while time.monotonic() < until_then:
                assert (await asyncio.to_thread(health, web))[0] == 200
                await asyncio.sleep(0.5)
        finally:
            web.redis.resume()
        await converges(page, task)
        await page.lives()
        assert page.close_code is None
        await asyncio.to_thread(wait_until, lambda: age(web) < 4, CONVERGES, "it hears again")
    assert web.web.alive


def age(web: WebOnly) -> float:
    status, text = health(web)
    assert status == 200, text
    return float(text.split()[-1])


@pytest.mark.parametrize("trouble", ["killed connections", "emptied", "restarted"])
async def test_whatever_becomes_of_redis_the_page_is_right_ten_seconds_later(
    web: WebOnly, owner: Login, trouble: str
) -> None:
    """No socket is dropped, the process stays, pushes flow again."""
    async with AsyncExitStack() as stack:
        page, task = await watched(stack, web, owner)
        if trouble == "restarted":
            await asyncio.to_thread(web.redis.kill)
            await asyncio.sleep(2)
            await asyncio.to_thread(web.redis.start)
        else:
            with closing(web.redis.client()) as client:
                client.flushall() if trouble == "emptied" else client.client_kill_filter(_type="pubsub")
        await asyncio.to_thread(converged_writer, task)
        await page.ends(task.id, seconds=CONVERGES)
        await asyncio.to_thread(wait_until, lambda: age(web) < 4, CONVERGES, "it hears again")
        assert page.close_code is None
    assert web.web.alive


def converged_writer(task: ActedTask) -> None:
    """End the task as a worker does: again, until Redis takes it."""

    def ended() -> bool:
        with suppress(progress.exceptions.ProgressError):
            task.end()
            return True
        return False

    wait_until(ended, 15, "Redis takes a write")


async def test_a_subscriber_that_redis_drops_for_being_slow_is_right_again(web: WebOnly, owner: Login) -> None:
    """Redis cuts a subscriber whose output buffer is full; what it would have told is looked up."""
    async with AsyncExitStack() as stack:
        page, task = await watched(stack, web, owner)
        group = f"{web.prefix}__group__{progress.group_name(task.id)}"
        with closing(web.redis.client()) as client:
            client.config_set("client-output-buffer-limit", "pubsub 100000 50000 1")
            dropped = clients_dropped(client)
            web.web.suspend()  # so that it does not read
            try:
                while clients_dropped(client) == dropped:
                    client.publish(group, b"x" * 60_000)
            finally:
                web.web.resume()
                client.config_set("client-output-buffer-limit", "pubsub 33554432 8388608 60")
            task.run(5, 10)
            await page.sees(task.id, current=5, seconds=CONVERGES)
            await asyncio.to_thread(wait_until, lambda: client.pubsub_numsub(group)[0][1] == 1, 10, "it has joined")
        await converges(page, task)
        assert page.close_code is None
    assert web.web.alive


def clients_dropped(client: Any) -> int:
    return int(client.info("stats")["client_output_buffer_limit_disconnections"])


async def test_deaf_while_redis_answers_is_unhealthy_until_it_hears_again(web: WebOnly, owner: Login) -> None:
    """Redis takes what is sent but lets nobody listen: red after ten seconds, green soon after it is mended."""
    async with AsyncExitStack() as stack:
        page, task = await watched(stack, web, owner)
        with closing(web.redis.client()) as client:
            client.acl_setuser("default", enabled=True, nopass=True, commands=["-subscribe"], reset=False)
            try:
                client.client_kill_filter(_type="pubsub")
                await asyncio.to_thread(wait_until, lambda: health(web)[0] == 503, 20, "it calls itself deaf")
                assert "deaf" in health(web)[1]
                task.run(5, 10)
                await page.sees(task.id, current=5, seconds=CONVERGES)  # by looking
            finally:
                client.acl_setuser("default", enabled=True, nopass=True, commands=["+subscribe"], reset=False)
        await asyncio.to_thread(wait_until, lambda: health(web)[0] == 200, 15, "it hears again")
        await converges(page, task)
    assert web.web.alive


async def test_a_loop_that_spins_does_not_answer_and_the_process_leaves(web: WebOnly, owner: Login) -> None:
    """Where it is told to: within 15 s, with a line that says where the loop stands. The health check times out."""
    async with AsyncExitStack() as stack:
        await watched(stack, web, owner)
        spinning = asyncio.create_task(asyncio.to_thread(ask, f"{web.url}/spins"))
        await asyncio.to_thread(wait_until, lambda: health(web, 2)[0] == 0, 10, "the health check fails")
        await asyncio.to_thread(wait_until, lambda: not web.web.alive, 15, "the process leaves")
        assert web.web.returncode == os.EX_SOFTWARE
        assert "CRITICAL progress.watchdog: The event loop has not turned for 10 s" in web.web.output()
        assert "in spins" in web.web.output()
        await spinning


def ask(url: str) -> None:
    with suppress(OSError), urllib.request.urlopen(url, timeout=30):
        pass


# --- The watchdog itself -----------------------------------------------------------------------------------


@pytest.fixture
def statuses() -> list[int]:
    return []


@pytest.fixture
async def dog(statuses: list[int]) -> watchdog.Watchdog:
    """A watchdog that says with which status it would leave."""
    return watchdog.Watchdog(statuses.append)


async def patient(deaf_for: float = 0) -> watchdog.Patient:
    return watchdog.Patient(asyncio.get_running_loop(), lambda: deaf_for, threading.get_ident())


async def test_a_loop_that_turns_is_never_accused(dog: watchdog.Watchdog, statuses: list[int]) -> None:
    """However often it is looked at."""
    one = await patient()
    for _ in range(100):
        dog.look(one, watchdog.TICK)
        await asyncio.sleep(0)
    assert (statuses, one.quiet) == ([], 0)


async def test_a_loop_that_stands_still_is_left_after_ten_seconds(
    dog: watchdog.Watchdog, statuses: list[int]
) -> None:
    """Counted in looks that were on time."""
    one, looks = await patient(), 0
    while not statuses:
        dog.look(one, watchdog.TICK)
        looks += 1
    assert statuses == [os.EX_SOFTWARE]
    assert 10 < (looks - 1) * watchdog.TICK <= 11


async def test_who_was_late_itself_accuses_nobody(dog: watchdog.Watchdog, statuses: list[int]) -> None:
    """A machine that slept, a process that was stopped: that time counts for nothing."""
    one = await patient()
    for _ in range(100):
        dog.look(one, 60)
    assert (statuses, one.quiet) == ([], 0)


async def test_deafness_that_nothing_mends_is_left_after_a_minute(
    dog: watchdog.Watchdog, statuses: list[int]
) -> None:
    """Not before: each replacement gets its chance."""
    dog.look(await patient(deaf_for=59), watchdog.TICK)
    assert statuses == []
    dog.look(await patient(deaf_for=61), watchdog.TICK)
    assert statuses == [os.EX_SOFTWARE]


async def test_its_thread_ends_with_the_last_loop(dog: watchdog.Watchdog) -> None:
    """And is started again for the next one."""
    for _ in range(2):
        dog.watch(lambda: 0)
        thread = dog.thread
        assert thread is not None
        assert thread.is_alive()
        dog.forget(asyncio.get_running_loop())
        await until(lambda thread=thread: not thread.is_alive())


async def test_nobody_watches_unless_told_to(redis_url: str, settings: Any) -> None:
    """By default a hub starts no thread; with the setting it does, until it ends."""
    async with subscribed([], []):
        assert watchdog.watchdog.thread is None
    settings.PROGRESS_EXIT_WHEN_DEAF = True
    async with subscribed([], []):
        assert watchdog.watchdog.thread is not None
    await until(lambda: watchdog.watchdog.thread is None)
