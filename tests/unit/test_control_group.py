"""The group of a process is left when its publisher ends, whatever the layer does with a cancellation."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from progress import groups
from progress.control_group import ControlGroup
from tests.wire import until


class SwallowingLayer:
    """As redis-py may do it on Python 3.11: a cancellation is lost where an answer comes in the same moment."""

    def __init__(self) -> None:
        self.asked = self.swallowed = 0

    async def new_channel(self) -> str:
        return "mine"

    async def group_add(self, _group: str, _channel: str) -> None:
        return None

    async def receive(self, _channel: str) -> dict[str, Any]:
        self.asked += 1
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if self.swallowed:
                raise
            self.swallowed += 1
        return {"type": "progress.control", "id": "t"}


async def test_leaving_ends_a_listener_that_was_deaf_to_the_first_call(monkeypatch: pytest.MonkeyPatch) -> None:
    layer, taken = SwallowingLayer(), list[Any]()
    monkeypatch.setattr(groups, "layer", lambda: layer)
    ours = ControlGroup("p", taken.append, lambda: None)
    ours.join()
    await until(lambda: layer.asked == 1)
    async with asyncio.timeout(5):
        await ours.leave()
    assert (layer.swallowed, layer.asked) == (1, 2)
    assert ours._listener is not None
    assert ours._listener.done()
    async with asyncio.timeout(5):
        await ours.leave()  # a second time changes nothing
