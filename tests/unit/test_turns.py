"""What is passed on in a turn of the loop: the newest once, in one frame, and only to those who may see it."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from progress.claims import Claim
from progress.counters import counters
from progress.outbox import Outbox, Shown
from progress.servers import Flow
from progress.turns import Turn
from progress.watched import Seat, Watched

OWNERS = Claim("7", "")


class ReadyFlow(Flow):
    """A connection that takes what is written. Keeps it."""

    def __init__(self) -> None:
        super().__init__()
        self.frames: list[list[dict[str, Any]]] = []

    @property
    def direct(self) -> bool:
        return not self.stuck

    def write(self, message: bytes) -> bool:
        if self.direct:
            self.frames.append(json.loads(message[message.index(b"{") :])["items"])
        return self.direct


class Reader:
    """A connection as the hub knows it. `asked` is what it was told itself, past its outbox."""

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.flow = ReadyFlow()
        self.outbox = Outbox(self._send, self.flow, lambda: "now")
        self.broken = False

    async def _send(self, message: dict[str, Any]) -> None:
        self.flow.frames.append(json.loads(message["text"])["items"])

    def seat(self, claim: Claim | None = OWNERS, *, staff: bool = False) -> Seat:
        return Seat(self, self.outbox, claim, staff)

    def progress_update(self, shown: Shown) -> None:
        if self.broken:
            raise RuntimeError
        self.asked.append(shown.seq)

    def task_found(self, key: str, record: Any) -> None: ...


def shown(key: str, seq: int, *, claim: Claim = OWNERS, logs_to: str | None = None) -> Shown:
    text = f'{{"id":"{key}","seq":{seq}}}'
    return Shown(key, seq, text, text.replace("}", ',"worker":"w"}'), logs_to=logs_to, now=lambda: "now", claim=claim)


def watched_by(*seats: Seat, key: str = "a") -> Watched:
    """A task of which these have seen the first snapshot."""
    first = shown(key, 1)
    return Watched(shown=first, told=first, watchers={seat.watcher: seat for seat in seats})


async def turns(count: int = 3) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_all_readers_of_a_task_are_written_to_in_the_next_turn() -> None:
    """Nobody is asked about what was decided before, and no reader costs a call of the loop."""
    readers = [Reader() for _ in range(10)]
    task = watched_by(*(reader.seat() for reader in readers))
    Turn().show(task, shown("a", 2))
    assert not any(reader.flow.frames for reader in readers)
    await asyncio.sleep(0)
    assert [reader.flow.frames for reader in readers] == [[[{"id": "a", "seq": 2}]]] * 10
    assert not any(reader.asked for reader in readers)


async def test_only_the_newest_of_a_turn_is_told() -> None:
    """Ten changes between two turns are one frame; the others are counted as left out, per reader."""
    reader, other, turn = Reader(), Reader(), Turn()
    task, before = watched_by(reader.seat(), other.seat()), counters.conflated
    for seq in range(2, 12):
        turn.show(task, shown("a", seq))
    await turns()
    assert reader.flow.frames == other.flow.frames == [[{"id": "a", "seq": 11}]]
    assert counters.conflated - before == 2 * 9


async def test_tasks_that_change_together_share_a_frame() -> None:
    """For each reader that watches several of them."""
    both, one, turn = Reader(), Reader(), Turn()
    tasks = watched_by(both.seat(), one.seat()), watched_by(both.seat(), key="b")
    for task, key in zip(tasks, "ab", strict=True):
        turn.show(task, shown(key, 2))
    await turns()
    assert both.flow.frames == [[{"id": "a", "seq": 2}, {"id": "b", "seq": 2}]]
    assert one.flow.frames == [[{"id": "a", "seq": 2}]]


async def test_each_reader_is_sent_the_view_of_its_seat() -> None:
    """Also when that changes between two snapshots."""
    staff, other, turn = Reader(), Reader(), Turn()
    seat = staff.seat(staff=True)
    task = watched_by(seat, other.seat())
    turn.show(task, shown("a", 2))
    await turns()
    seat.staff = False
    turn.show(task, shown("a", 3))
    await turns()
    assert staff.flow.frames == [[{"id": "a", "seq": 2, "worker": "w"}], [{"id": "a", "seq": 3}]]
    assert other.flow.frames == [[{"id": "a", "seq": 2}], [{"id": "a", "seq": 3}]]


@pytest.mark.parametrize(
    "news",
    [shown("a", 2, claim=Claim("somebody else", "")), shown("a", 2, logs_to="5-0")],
    ids=["the claim is another", "there are log lines"],
)
async def test_what_has_to_be_looked_at_is_not_written(news: Shown) -> None:
    """The connection itself is asked, and decides."""
    reader = Reader()
    Turn().show(watched_by(reader.seat()), news)
    await turns()
    assert (reader.asked, reader.flow.frames) == ([2], [])


async def test_a_seat_that_was_left_in_the_same_turn_is_sent_nothing() -> None:
    """Whoever gives a task up takes the claim from its seat; the hub may have the seat for a moment yet."""
    reader = Reader()
    seat = reader.seat()
    Turn().show(watched_by(seat), shown("a", 2))
    seat.claim = None
    await turns()
    assert (reader.asked, reader.flow.frames) == ([2], [])


async def test_who_comes_in_the_same_turn_is_shown_the_newest_once() -> None:
    """Neither what is about to be replaced, nor the same twice."""
    reader, late = Reader(), Reader()
    task = watched_by(reader.seat())
    Turn().show(task, shown("a", 2))
    task.add(late)
    assert late.asked == []
    await turns()
    assert late.asked == [2]


async def test_a_reader_that_takes_nothing_holds_up_nobody() -> None:
    """It is given the newest when it goes on."""
    deaf, other, turn = Reader(), Reader(), Turn()
    task = watched_by(deaf.seat(), other.seat())
    deaf.flow._takes_nothing()
    for seq in (2, 3):
        turn.show(task, shown("a", seq))
        await turns()
    assert (deaf.flow.frames, len(other.flow.frames)) == ([], 2)
    deaf.flow._takes_more()
    await turns()
    assert deaf.flow.frames == [[{"id": "a", "seq": 3}]]


async def test_a_mistake_with_one_reader_keeps_none_of_the_others(caplog: pytest.LogCaptureFixture) -> None:
    """Whoever comes after it is shown the same snapshot, were it the last."""
    readers = [Reader() for _ in range(5)]
    readers[0].broken = True
    watched = watched_by(*(reader.seat(None) for reader in readers))
    Turn().show(watched, shown("a", 1))
    await turns()
    assert [reader.asked for reader in readers[1:]] == [[1]] * 4
    assert "could not be shown to somebody" in caplog.text


async def test_a_mistake_with_one_task_keeps_none_of_the_others() -> None:
    """Nor its own next snapshot."""
    broken, other, turn = Reader(), Reader(), Turn()
    tasks = watched_by(broken.seat(None)), watched_by(other.seat(), key="b")
    broken.broken = True
    for task, key in zip(tasks, "ab", strict=True):
        turn.show(task, shown(key, 2))
    await turns()
    assert other.flow.frames == [[{"id": "b", "seq": 2}]]
    broken.broken = False
    turn.show(tasks[0], shown("a", 3))
    await turns()
    assert broken.asked == [3]
