"""A client of the rig leaves when it is told to, also when a frame comes in the same moment."""

from __future__ import annotations

import asyncio
from typing import Any, Self

import pytest

from . import clients
from .clients import Client


class Line:
    """A connection that brings a frame when it is told to."""

    close_code = None

    def __init__(self) -> None:
        self.frame: asyncio.Future[str] | None = None
        self.waited_for = asyncio.Event()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_error: object) -> None:
        return None

    async def recv(self) -> str:
        self.frame = asyncio.get_running_loop().create_future()
        self.waited_for.set()
        return await self.frame


@pytest.mark.parametrize("turns", range(4))
async def test_a_client_leaves_though_a_frame_comes_in_the_same_moment(
    monkeypatch: pytest.MonkeyPatch, turns: int
) -> None:
    """`turns` of the loop after the frame: somewhere there, `wait_for` has the frame and its caller has not."""
    line = Line()

    def connect(*_url: object, **_options: Any) -> Line:
        return line

    monkeypatch.setattr(clients, "connect", connect)
    running = asyncio.create_task(Client("one", "ws://127.0.0.1:1/ws/progress/", "").run())
    await asyncio.wait_for(line.waited_for.wait(), 5)
    assert line.frame is not None
    line.frame.set_result('{"type": "heartbeat"}')
    for _ in range(turns):
        await asyncio.sleep(0)
    running.cancel()
    ended, _ = await asyncio.wait([running], timeout=5)
    assert ended
    assert running.cancelled()
