"""Following logs: every line once, in order, whatever happens meanwhile."""

from __future__ import annotations

import asyncio
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

from progress import log_tails
from progress.exceptions import StoreUnavailable
from progress.log_tails import LogTails
from progress.memory_store import MemoryStore
from progress.store import LogPage


class Client:
    """One connection that follows logs in a store, with a reader that may be slow."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.away = False
        self.open = asyncio.Event()
        self.open.set()
        self.told: list[dict[str, Any]] = []
        self.tails = LogTails(self.read, self.say)

    async def read(self, key: str, after: str | None) -> LogPage:
        page = self.store.logs(key, after)
        await asyncio.sleep(0)  # an answer that is on its way is older than what is written now
        if self.away:
            raise StoreUnavailable
        return page

    async def say(self, kind: str, ref: Any, **fields: Any) -> None:
        await self.open.wait()
        self.told.append({"type": kind, "ref": ref, **fields})

    async def log(self, *lines: str) -> None:
        """Write lines, and say so as the hub would."""
        cursor = await self.store.aappend_logs("t", [("INFO", line) for line in lines])
        if self.tails.is_behind("t", cursor):
            self.chores = [*getattr(self, "chores", []), asyncio.create_task(self.tails.catch_up("t"))]

    @property
    def lines(self) -> list[str]:
        return [line["text"] for message in self.told for line in message["lines"]]

    async def settle(self) -> None:
        self.open.set()
        await asyncio.gather(*getattr(self, "chores", []))


async def test_a_log_is_followed_from_where_it_is() -> None:
    """The first page repeats the ref, what comes later follows by itself."""
    client = Client()
    await client.log("a", "b")
    await client.tails.follow("t", None, "r")
    await client.log("c")
    await client.settle()
    assert client.lines == ["a", "b", "c"]
    assert [message["ref"] for message in client.told] == ["r", None]


async def test_an_empty_log_is_answered_and_then_followed() -> None:
    """Who asks too early gets an empty page, and the first line when it comes."""
    client = Client()
    await client.tails.follow("t", None, "r")
    assert client.told == [
        {"type": "logs", "ref": "r", "id": "t", "lines": [], "next": "0-0", "truncated": False},
    ]
    await client.log("first")
    await client.settle()
    assert client.lines == ["first"]


async def test_the_last_line_is_not_lost_between_two_readings() -> None:
    """A line that is written while the newest page is on its way is sent, although nothing comes after it."""
    client = Client()
    await client.tails.follow("t", None, None)
    await client.log("one")
    await asyncio.sleep(0)  # the page with "one" is on its way
    await client.log("last")
    await client.settle()
    assert client.lines == ["one", "last"]


async def test_lines_that_come_while_the_first_page_is_sent_are_not_lost() -> None:
    """What is written while a slow client takes its first page follows."""
    client = Client()
    await client.log("a")
    client.open.clear()
    following = asyncio.create_task(client.tails.follow("t", None, "r"))
    await asyncio.sleep(0.01)
    await client.log("b")
    await client.settle()
    await following
    assert client.lines == ["a", "b"]


async def test_the_last_lines_arrive_when_the_store_is_back(monkeypatch: Any) -> None:
    """While Redis is away the lines are asked for again: nothing else would bring those of a task that has ended."""
    monkeypatch.setattr(log_tails, "TRY_AGAIN", 0.01)
    client = Client()
    await client.tails.follow("t", None, None)
    client.away = True
    await client.log("last")
    await asyncio.sleep(0.05)
    client.away = False
    await client.settle()
    assert client.lines == ["last"]


async def test_a_first_page_that_cannot_be_read_is_an_error() -> None:
    """Who asks while Redis is away is told so, and may ask again."""
    client = Client()
    client.away = True
    with pytest.raises(StoreUnavailable):
        await client.tails.follow("t", None, "r")
    client.away = False
    await client.tails.follow("t", None, "r")
    assert client.told[0]["lines"] == []


async def test_a_dropped_log_is_silent() -> None:
    """After `drop` nothing more is sent, not even what is on its way."""
    client = Client()
    await client.tails.follow("t", None, None)
    await client.log("a")
    client.tails.drop("t")
    await client.settle()
    assert client.lines == []
    assert not client.tails.is_behind("t", "9-0")


STEPS = st.lists(st.sampled_from(["log", "log many", "turn", "stop", "go", "away", "back"]), max_size=40)


@given(STEPS)
def test_every_line_is_sent_once_and_in_order(steps: list[str]) -> None:
    """Any mixture of lines, slow readers and a store that comes and goes."""

    async def play() -> None:
        client, count = Client(), 0
        await client.tails.follow("t", None, None)
        for step in steps:
            if step.startswith("log"):
                more = 250 if step == "log many" else 1
                await client.log(*(str(count + number) for number in range(more)))
                count += more
            elif step == "turn":
                await asyncio.sleep(0)
            elif step in ("stop", "go"):
                _ = client.open.clear() if step == "stop" else client.open.set()
            else:
                client.away = step == "away"
        client.away = False
        await client.settle()
        # The store keeps a thousand lines; what is older may be gone, and nothing else.
        lost = max(count - 1000, 0)
        assert client.lines[-(count - lost) :] == [str(number) for number in range(lost, count)][-(count - lost) :]
        assert client.lines == sorted(set(client.lines), key=int)

    log_tails.TRY_AGAIN, before = 0.001, log_tails.TRY_AGAIN
    try:
        asyncio.run(play())
    finally:
        log_tails.TRY_AGAIN = before
