"""The outbox where the server lets us write at once, and what it falls back to."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from unittest.mock import MagicMock

from progress.outbox import Outbox, Shown
from progress.servers import Flow


class OpenFlow(Flow):
    """A connection whose transport we know. Keeps what is written."""

    def __init__(self) -> None:
        super().__init__(MagicMock())
        self.written: list[list[dict[str, Any]]] = []

    @property
    def direct(self) -> bool:
        return not self.stuck

    def write(self, message: bytes) -> bool:
        if self.direct:
            self.written.append(json.loads(message[message.index(b"{") :])["items"])
        return self.direct


class Sent:
    """The server's own `send`."""

    def __init__(self) -> None:
        self.items: list[list[dict[str, Any]]] = []

    async def __call__(self, message: dict[str, Any]) -> None:
        self.items.append(json.loads(message["text"])["items"])


def shown(key: str, seq: int) -> Shown:
    text = f'{{"id":"{key}","seq":{seq}}}'
    return Shown(key, seq, text, text.replace("}", ',"worker":"w"}'), logs_to=None, now=lambda: "now")


def opened(flow: Flow) -> tuple[Outbox, Sent]:
    sent = Sent()
    return Outbox(sent, flow, lambda: "now"), sent


async def turns(count: int = 5) -> None:
    """Let the event loop do what is due."""
    for _ in range(count):
        await asyncio.sleep(0)


async def test_a_snapshot_is_written_in_the_next_turn_without_a_task() -> None:
    """One reader costs no task of its own."""
    flow = OpenFlow()
    outbox, sent = opened(flow)
    tasks = asyncio.all_tasks()
    outbox.put(shown("a", 1), staff=False)
    assert asyncio.all_tasks() == tasks
    await turns()
    assert flow.written == [[{"id": "a", "seq": 1}]]
    assert sent.items == []


async def test_what_comes_in_one_turn_shares_a_frame_and_only_the_newest_is_told() -> None:
    """Ten changes of one task and one of another between two turns are one frame with two snapshots."""
    flow = OpenFlow()
    outbox, _ = opened(flow)
    for seq in range(1, 11):
        outbox.put(shown("a", seq), staff=False)
    outbox.put(shown("b", 1), staff=True)
    await turns()
    assert flow.written == [[{"id": "a", "seq": 10}, {"id": "b", "seq": 1, "worker": "w"}]]


async def test_a_reader_that_takes_nothing_gets_the_newest_when_it_goes_on() -> None:
    """While the transport is full nothing is written; afterwards the last value alone is."""
    flow = OpenFlow()
    outbox, sent = opened(flow)
    flow.pauseProducing()
    for seq in (1, 2, 3):
        outbox.put(shown("a", seq), staff=False)
        await turns()
    assert flow.written == sent.items == []
    flow.resumeProducing()
    await turns()
    assert [*flow.written, *sent.items] == [[{"id": "a", "seq": 3}]]


async def test_a_reader_that_asked_for_fewer_frames_is_not_written_to_at_once() -> None:
    """`every` holds where we could write directly, too."""
    flow = OpenFlow()
    outbox, sent = opened(flow)
    outbox.every = 0.05
    outbox.put(shown("a", 1), staff=False)
    await turns()
    outbox.put(shown("a", 2), staff=False)
    await turns()
    assert sent.items == [[{"id": "a", "seq": 1}]]
    async with asyncio.timeout(5):
        while len(sent.items) < 2:  # noqa: ASYNC110 (the outbox has no event for a test)
            await asyncio.sleep(0.01)
    assert flow.written == []
    assert sent.items[-1] == [{"id": "a", "seq": 2}]


async def test_without_a_transport_the_servers_own_way_is_taken() -> None:
    """Servers other than Daphne get their message through `send`."""
    outbox, sent = opened(Flow())
    outbox.put(shown("a", 1), staff=False)
    await turns()
    assert sent.items == [[{"id": "a", "seq": 1}]]


async def test_nothing_is_written_after_the_outbox_was_closed() -> None:
    """What was put a moment before is not told to a connection that is gone."""
    flow = OpenFlow()
    outbox, sent = opened(flow)
    outbox.put(shown("a", 1), staff=False)
    outbox.close()
    await turns()
    assert flow.written == sent.items == []


async def test_two_views_of_one_snapshot_are_two_texts() -> None:
    """A frame that was made for staff is not handed to others, however close in time."""
    flow, other = OpenFlow(), OpenFlow()
    one = shown("a", 1)
    opened(flow)[0].put(one, staff=True)
    opened(other)[0].put(one, staff=False)
    await turns()
    assert flow.written == [[{"id": "a", "seq": 1, "worker": "w"}]]
    assert other.written == [[{"id": "a", "seq": 1}]]


# --- A frame that was made for many ------------------------------------------------------------------------


async def test_a_ready_frame_is_written_at_once() -> None:
    """With nothing in its way it waits for no turn of the loop."""
    flow = OpenFlow()
    outbox, sent = opened(flow)
    assert outbox.write(shown("a", 1).wire(False))
    assert flow.written == [[{"id": "a", "seq": 1}]]
    await turns()
    assert sent.items == []


async def test_a_ready_frame_overtakes_nothing() -> None:
    """It is refused while there is another snapshot, a pause that was asked for, or a full buffer, and at the end."""
    flow = OpenFlow()
    outbox, _ = opened(flow)
    frame = shown("a", 2).wire(False)
    outbox.put(shown("a", 1), staff=False)
    assert not outbox.write(frame)
    await turns()
    outbox.every = 1.0
    assert not outbox.write(frame)
    outbox.every = 0.0
    flow.pauseProducing()
    assert not outbox.write(frame)
    flow.resumeProducing()
    assert outbox.write(frame)
    outbox.close()
    assert not outbox.write(frame)
    assert flow.written == [[{"id": "a", "seq": 1}], [{"id": "a", "seq": 2}]]


async def test_a_ready_frame_waits_for_what_is_being_sent() -> None:
    """A snapshot that the server's own `send` has not let go of yet is older than any that comes."""
    flow, go_on = OpenFlow(), asyncio.Event()

    async def send(_message: dict[str, Any]) -> None:
        await go_on.wait()

    outbox = Outbox(send, flow, lambda: "now")
    outbox.every = 0.001
    outbox.put(shown("a", 1), staff=False)
    await turns()
    outbox.every = 0.0
    assert not outbox.write(shown("a", 2).wire(False))
    go_on.set()
    await turns()
    assert outbox.write(shown("a", 2).wire(False))
