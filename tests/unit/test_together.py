"""Calls that come together are made together, and nobody pays for that."""

from __future__ import annotations

import asyncio
import gc
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest

from progress.exceptions import StoreUnavailable
from progress.together import A_TIME_OUT, Together


class Slow:
    """A call that answers when it is let go, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self.let_go = asyncio.Event()
        self.errors: list[BaseException] = []

    async def __call__(self, keys: list[str]) -> dict[str, int]:
        self.asked.append(keys)
        await self.let_go.wait()
        if self.errors:
            raise self.errors.pop()
        return {key: len(self.asked) for key in keys}


@pytest.fixture
async def slow() -> Slow:
    return Slow()


async def turns(condition: Callable[[], bool]) -> None:
    """Let the loop turn until it is so."""
    for _ in range(100):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("it was not so")


async def begun(slow: Slow, together: Together[Any], *keys: str) -> asyncio.Task[Any]:
    """A call that is under way."""
    before, asking = len(slow.asked), asyncio.create_task(together(keys))
    await turns(lambda: len(slow.asked) > before)
    return asking


async def asking(together: Together[Any], *questions: list[str]) -> list[asyncio.Task[Any]]:
    """Some who have asked, and wait."""
    tasks = [asyncio.create_task(together(keys)) for keys in questions]
    await asyncio.sleep(0)
    return tasks


async def test_who_asks_alone_waits_for_nobody(slow: Slow) -> None:
    """One after another: a call for each, at once, and nothing is kept of it."""
    together, _ = Together(slow), slow.let_go.set()
    assert await together(["a"]) == {"a": 1}
    assert await together(["b", "a"]) == {"b": 2, "a": 2}
    assert slow.asked == [["a"], ["b", "a"]]
    await turns(lambda: together._next is None and together._under_way is None)


async def test_all_who_ask_meanwhile_share_the_next_call(slow: Slow) -> None:
    """A thousand connections cost two calls, each key is asked about once. No answer is older than its question."""
    together = Together(slow)
    first = await begun(slow, together, "a")
    others = await asking(together, *([f"t{number % 10}"] for number in range(1000)))
    assert slow.asked == [["a"]]
    slow.let_go.set()
    answers = await asyncio.gather(first, *others)
    assert slow.asked == [["a"], [f"t{number}" for number in range(10)]]
    assert answers[0] == {"a": 1}
    assert all(answer is answers[1] for answer in answers[1:])


async def test_a_loop_that_begins_its_tasks_at_once_changes_nothing(slow: Slow) -> None:
    """A site may set an eager task factory, where Python has one (3.12): what was named is asked for all the same."""
    if sys.version_info >= (3, 12):
        asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
    together, _ = Together(slow), slow.let_go.set()
    assert await together(["a"]) == {"a": 1}
    assert await asyncio.gather(together(["b"]), together(["c"])) == [{"b": 2, "c": 2}] * 2
    await turns(lambda: together.tasks == [])


async def test_all_get_the_same_error_and_the_next_are_asked_for_again(slow: Slow) -> None:
    """A Redis that does not answer one call may answer the next."""
    together, away = Together(slow), StoreUnavailable("away")
    slow.errors = [away]
    first = await asking(together, ["a"], ["b"])
    await turns(lambda: bool(slow.asked))
    later = await asking(together, ["c"])
    slow.let_go.set()
    assert await asyncio.gather(*first, return_exceptions=True) == [away, away]
    assert await asyncio.gather(*later) == [{"c": 2}]


async def test_who_leaves_takes_the_call_from_nobody(slow: Slow) -> None:
    """Also when it was the first to ask, and when nobody is left: others may rely on what comes of it."""
    together = Together(slow)
    one = await begun(slow, together, "a")
    two, three = await asking(together, ["b"], ["c"])
    one.cancel()
    two.cancel()
    await asyncio.wait([one, two])
    assert (one.cancelled(), two.cancelled(), three.done()) == (True, True, False)
    slow.let_go.set()
    assert await three == {"b": 2, "c": 2}
    slow.let_go.clear()
    alone = await begun(slow, together, "d")
    alone.cancel()
    await asyncio.wait([alone])
    slow.let_go.set()
    assert await together(["e"]) == {"e": 4}


async def test_a_failure_that_nobody_waits_for_is_no_complaint_of_asyncio(slow: Slow) -> None:
    """It would be logged as never retrieved, by the thousand."""
    complaints: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: complaints.append(context))
    together, slow.errors = Together(slow), [StoreUnavailable("away")]
    gone = await begun(slow, together, "a")
    gone.cancel()
    await asyncio.wait([gone])
    del gone  # it remembers for what it has waited
    slow.let_go.set()
    assert await together(["b"]) == {"b": 2}
    gc.collect()
    assert complaints == []


@pytest.mark.parametrize("which", ["_under_way", "_next"])
async def test_call_that_is_killed_is_told_to_those_who_wait_for_it(slow: Slow, which: str) -> None:
    """They are not cancelled themselves, nobody waits for ever, and whoever asks next is answered."""
    together = Together(slow)
    first = await begun(slow, together, "a")
    (second,) = await asking(together, ["b"])
    getattr(together, which).cancel()
    killed, other = (first, second) if which == "_under_way" else (second, first)
    with pytest.raises(StoreUnavailable, match="ended before there was an answer"):
        await killed
    slow.let_go.set()
    await other
    assert await together(["c"]) == {"c": len(slow.asked)}


def test_it_ends_with_its_loop() -> None:
    """Whoever waits is cancelled as everything is, and nothing is left behind."""

    async def forever(_keys: list[str]) -> None:
        await asyncio.Event().wait()

    async def leave() -> Together[None]:
        together = Together(forever)
        await asking(together, ["a"])
        await asking(together, ["b"])
        return together

    together = asyncio.run(leave(), debug=True)
    assert (together._next, together._under_way) == (None, None)


@pytest.mark.parametrize("busy", [True, False])
async def test_a_time_out_is_believed_unless_the_loop_was_too_busy_to_look(busy: bool) -> None:
    """In a crowd it says nothing of Redis: that is asked again."""
    asked: list[list[str]] = []

    async def call(keys: list[str]) -> str:
        asked.append(keys)
        if len(asked) > 1:
            return "there"
        until = time.monotonic() + 1.2 * A_TIME_OUT
        while busy and time.monotonic() < until:
            pass
        await asyncio.sleep(0 if busy else 1.2 * A_TIME_OUT)
        raise StoreUnavailable("no answer in time")

    together = Together(call)
    if busy:
        assert await together(["one"]) == "there"
        assert asked == [["one"], ["one"]]
    else:
        with pytest.raises(StoreUnavailable, match="in time"):
            await together(["one"])


async def test_whoever_is_refused_is_told_at_once() -> None:
    """However busy the loop is: another try would be refused as well."""
    asked: list[list[str]] = []

    async def call(keys: list[str]) -> str:
        asked.append(keys)
        raise StoreUnavailable("refused")

    with pytest.raises(StoreUnavailable, match="refused"):
        await Together(call)(["one"])
    assert len(asked) == 1
