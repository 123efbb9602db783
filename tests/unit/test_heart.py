"""One task per loop beats for all connections, and ends with the last of them."""

from __future__ import annotations

import asyncio
import json

import pytest

from progress import heart
from progress.heart import TURNS, Heart, get_heart
from progress.outbox import wire
from tests.wire import until

ROUND = 0.2  # seconds


class Member:
    """A connection that notes its beats."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.heard: list[tuple[str, bytes]] = []

    def beat(self, text: str, framed: bytes) -> None:
        self.heard.append((text, framed))
        if self.error:
            raise self.error


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heart, "HEARTBEAT", ROUND)


def running(of: Heart) -> bool:
    return of._task is not None and not of._task.done()


async def test_each_connection_hears_the_time_once_in_a_round() -> None:
    """Those who came in different moments have turns of their own; each hears the same, as text and as a frame."""
    ours, first, second = get_heart(), Member(), Member()
    ours.join(first)
    await until(lambda: ours._now == TURNS // 2)
    assert not first.heard
    ours.join(second)
    await until(lambda: len(first.heard) == 2)
    assert len(second.heard) == 1
    (text, framed), _ = first.heard
    assert json.loads(text).keys() == {"type", "at"}
    assert framed == wire(text)
    ours.leave(first)
    ours.leave(second)


async def test_the_last_connection_ends_the_task_and_the_next_begins_it_again() -> None:
    ours, first, second = get_heart(), Member(), Member()
    assert get_heart() is ours
    ours.join(first)
    ours.join(second)
    ours.leave(first)
    assert running(ours)
    ours.leave(second)
    assert not running(ours)
    ours.leave(second)  # whatever ends a connection, it leaves
    ours.join(first)
    await until(lambda: first.heard)
    assert not second.heard
    ours.leave(first)


async def test_one_that_cannot_be_told_keeps_nobody_from_hearing(caplog: pytest.LogCaptureFixture) -> None:
    ours, broken, whole = get_heart(), Member(RuntimeError("it is gone")), Member()
    ours.join(broken)
    ours.join(whole)
    await until(lambda: len(whole.heard) >= 2 and len(broken.heard) >= 2)
    assert "it is gone" in caplog.text
    ours.leave(broken)
    ours.leave(whole)


async def test_a_heart_that_was_killed_begins_again_with_the_next_connection() -> None:
    ours, first, second = get_heart(), Member(), Member()
    ours.join(first)
    assert ours._task is not None
    ours._task.cancel()
    await asyncio.wait([ours._task])
    ours.join(second)
    await until(lambda: first.heard and second.heard)
    ours.leave(first)
    ours.leave(second)
