"""What one connection is still to be sent: the newest of each task, never a queue."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import hypothesis.strategies as st
from hypothesis import given

from progress import servers
from progress.counters import counters
from progress.outbox import FRAME_BYTES, Outbox, Shown
from progress.servers import Flow
from tests.wire import until


def shown(key: str, seq: int, size: int = 0) -> Shown:
    public = json.dumps({"id": key, "seq": seq, "pad": "x" * size})
    staff = json.dumps({"id": key, "seq": seq, "worker": "w"})
    return Shown(key, seq, public, staff, logs_to=None, now=lambda: "2026-11-20T13:30:20.120Z")


class Reader:
    """A connection without a transport: `send` waits while `open` is not set, as uvicorn's does."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.open.set()
        self.frames: list[list[dict[str, Any]]] = []
        self.broken = False
        self.outbox = Outbox(self.send, Flow(), lambda: "2026-11-20T13:30:20.120Z")

    async def send(self, message: dict[str, Any]) -> None:
        await self.open.wait()
        if self.broken:
            raise RuntimeError("Attempt to send on a closed protocol")
        decoded = json.loads(message["text"])
        assert decoded.keys() == {"type", "at", "items"}
        self.frames.append(decoded["items"])

    @property
    def seqs(self) -> list[list[int]]:
        return [[item["seq"] for item in frame] for frame in self.frames]


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_a_snapshot_is_sent_at_once() -> None:
    """Nothing is held back from a reader that keeps up."""
    reader = Reader()
    reader.outbox.put(shown("a", 1), staff=False)
    await settle()
    assert reader.frames == [[{"id": "a", "seq": 1, "pad": ""}]]


async def test_what_arrives_together_shares_a_frame() -> None:
    """Many tasks that change in one moment cost one frame."""
    reader = Reader()
    for number in range(10):
        reader.outbox.put(shown(f"t{number}", number), staff=False)
    await settle()
    assert reader.seqs == [list(range(10))]


async def test_a_reader_that_is_behind_is_given_the_newest_only() -> None:
    """While the reader takes nothing, each task keeps one snapshot: memory does not depend on the rate."""
    reader, conflated = Reader(), counters.conflated
    reader.open.clear()
    for seq in range(1000):
        for key in ("a", "b"):
            reader.outbox.put(shown(key, seq), staff=False)
        if seq % 100 == 0:
            await settle()
        assert len(reader.outbox._waiting) <= 2
    reader.open.set()
    await settle()
    assert reader.seqs[-1] == [999, 999]
    assert len(reader.frames) <= 2
    assert counters.conflated - conflated == 2000 - sum(map(len, reader.frames))


async def test_staff_and_public_view_do_not_mix() -> None:
    """Each reader is sent the view that it may see."""
    one, two = Reader(), Reader()
    snap = shown("a", 1)
    one.outbox.put(snap, staff=True)
    two.outbox.put(snap, staff=False)
    await settle()
    assert "worker" in one.frames[0][0]
    assert "worker" not in two.frames[0][0]


async def test_what_waits_is_sent_in_the_view_that_is_allowed_by_then() -> None:
    """`show_as` changes the view of what was not sent yet, and sends nothing by itself."""
    reader = Reader()
    reader.outbox.show_as("a", False)
    reader.outbox.put(shown("a", 1), staff=True)
    reader.outbox.show_as("a", False)
    await settle()
    assert reader.frames == [[{"id": "a", "seq": 1, "pad": ""}]]


async def test_a_chosen_pace_is_kept_and_the_newest_is_not_lost() -> None:
    """With `every`, frames are that far apart, and the last value arrives."""
    reader = Reader()
    reader.outbox.every = 0.05
    loop = asyncio.get_running_loop()
    began = loop.time()
    for seq in range(20):
        reader.outbox.put(shown("a", seq), staff=False)
        await asyncio.sleep(0.01)
    await until(lambda: reader.seqs[-1] == [19])
    assert len(reader.frames) <= (loop.time() - began) / 0.05 + 2


async def test_what_needs_several_frames_is_not_parted_by_the_pause() -> None:
    """With `every`, a page of two hundred bars has all of them at once: the pace is that of each bar."""
    reader = Reader()
    reader.outbox.every = 60.0
    for number in range(100):
        reader.outbox.put(shown(f"t{number}", number, size=4000), staff=False)
    await settle()
    assert len(reader.frames) > 1
    assert sorted(seq for frame in reader.seqs for seq in frame) == list(range(100))
    reader.outbox.put(shown("t0", 100), staff=False)
    await settle()
    assert [100] not in reader.seqs
    reader.outbox.close()


async def test_a_dropped_task_is_not_mentioned_again() -> None:
    """After `drop` what was waiting about the task is gone; no empty frame is sent in its place."""
    reader = Reader()
    reader.outbox.every = 0.02
    reader.outbox.put(shown("a", 1), staff=False)
    await settle()
    reader.outbox.put(shown("a", 2), staff=False)
    await settle()
    reader.outbox.drop("a")
    await asyncio.sleep(0.05)
    assert reader.seqs == [[1]]


async def test_large_snapshots_are_spread_over_frames() -> None:
    """No frame grows without bound: servers limit what they send."""
    reader = Reader()
    for number in range(100):
        reader.outbox.put(shown(f"t{number}", number, size=4000), staff=False)
    await settle()
    assert sorted(seq for frame in reader.seqs for seq in frame) == list(range(100))
    assert max(len(json.dumps(frame)) for frame in reader.frames) <= FRAME_BYTES + 10_000


async def test_a_closed_outbox_says_nothing_and_leaves_no_task() -> None:
    """After `close` nothing is sent, whatever is still put in."""
    before = asyncio.all_tasks()
    reader = Reader()
    reader.open.clear()
    reader.outbox.put(shown("a", 1), staff=False)
    await settle()
    reader.outbox.close()
    reader.outbox.put(shown("a", 2), staff=False)
    reader.open.set()
    await settle()
    assert reader.frames == []
    assert asyncio.all_tasks() == before


async def test_a_reader_that_is_leaving_is_no_error() -> None:
    """A server that refuses to send on a closing connection is normal: nothing is raised or reported."""
    reported: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: reported.append(context))
    reader = Reader()
    reader.broken = True
    reader.outbox.put(shown("a", 1), staff=False)
    await settle()
    del reader
    await settle()
    assert reported == []


def test_one_text_serves_all_readers_of_a_moment() -> None:
    """A frame is built once per view and moment, not once per reader."""
    snap = shown("a", 1)
    assert snap.frame(False) is snap.frame(False)
    assert snap.wire(True) is snap.wire(True)
    assert snap.frame(True) != snap.frame(False)


def test_an_old_snapshot_is_framed_with_the_present_time() -> None:
    """`at` is what ages are counted from, so a snapshot of an hour ago must not carry the time of then."""
    times = iter(["2026-11-20T13:30:20.120Z", "2026-11-20T14:30:20.120Z"])
    snap = Shown("a", 1, "{}", "{}", logs_to=None, now=lambda: next(times))
    first = snap.frame(False)
    snap._framed_at -= 3600
    assert json.loads(first)["at"] < json.loads(snap.frame(False))["at"]


STEPS = st.lists(
    st.tuples(st.sampled_from(["put", "drop", "stop", "go", "turn"]), st.sampled_from(["a", "b", "c"])), max_size=60
)


@given(STEPS)
def test_whatever_the_reader_does_it_ends_with_the_newest_and_never_goes_back(steps: list[tuple[str, str]]) -> None:
    """Any mixture of changes, stops and unwatching: each task's frames rise and end with what was put last."""

    async def play() -> None:
        reader = Reader()
        newest: dict[str, int] = {}
        for seq, (step, key) in enumerate(steps):
            if step == "put":
                reader.outbox.put(shown(key, seq), staff=False)
                newest[key] = seq
            elif step == "drop":
                reader.outbox.drop(key)
                newest.pop(key, None)
            elif step == "turn":
                await settle()
            else:
                _ = reader.open.set() if step == "go" else reader.open.clear()
        reader.open.set()
        await settle()
        sent: dict[str, list[int]] = {}
        for item in (item for frame in reader.frames for item in frame):
            sent.setdefault(item["id"], []).append(item["seq"])
        assert all(seqs == sorted(set(seqs)) for seqs in sent.values())
        assert {key: sent[key][-1] for key in newest} == newest
        reader.outbox.close()

    asyncio.run(play())


# --- A transport that tells --------------------------------------------------------------------------------


class Transport:
    """As much of Twisted's transport as we lean on."""

    TLS = False
    dataBuffer = b""  # noqa: N815

    def __init__(self) -> None:
        self.producer: Any = None
        self.written = b""
        self.reading = True
        self.aborted = False

    def registerProducer(self, producer: Any, streaming: bool) -> None:  # noqa: N802
        assert streaming
        self.producer = producer

    def unregisterProducer(self) -> None:  # noqa: N802
        self.producer = None

    def write(self, data: bytes) -> None:
        self.written += data

    def pauseProducing(self) -> None:  # noqa: N802
        self.reading = False

    def resumeProducing(self) -> None:  # noqa: N802
        self.reading = True

    def abortConnection(self) -> None:  # noqa: N802
        self.aborted = True


class Protocol:
    """As much of Autobahn's protocol as we lean on."""

    STATE_OPEN = state = 3


async def test_on_daphne_a_full_buffer_is_waited_for() -> None:
    """Between pause and resume nothing is written; afterwards the newest is, once."""
    transport = Transport()
    flow = Flow(transport, Protocol())
    outbox = Outbox(Reader().send, flow, lambda: "")
    transport.producer.pauseProducing()
    for seq in range(100):
        outbox.put(shown("a", seq), staff=False)
        await asyncio.sleep(0)
    assert transport.written == b""
    transport.producer.resumeProducing()
    reader = outbox._send.__self__  # type: ignore[attr-defined]
    await settle()
    assert reader.seqs == [[99]]
    assert transport.reading
    outbox.close()


async def test_who_takes_nothing_is_not_listened_to_and_then_cut(monkeypatch: Any) -> None:
    """A full buffer stops the reading too, and after the patience the connection is cut."""
    monkeypatch.setattr(servers, "STUCK_SECONDS", 0.05)
    transport = Transport()
    flow = Flow(transport, Protocol())
    assert not flow.stuck
    transport.producer.pauseProducing()
    assert flow.stuck
    assert not transport.reading
    await until(lambda: transport.aborted)
    transport.producer.stopProducing()
    await flow.ready()


async def test_who_catches_up_in_time_is_not_cut(monkeypatch: Any) -> None:
    """The patience begins anew with every full buffer."""
    monkeypatch.setattr(servers, "STUCK_SECONDS", 0.2)
    transport = Transport()
    Flow(transport, Protocol())
    for _ in range(4):
        transport.producer.pauseProducing()
        await asyncio.sleep(0.1)
        transport.producer.resumeProducing()
    await asyncio.sleep(0.25)
    assert not transport.aborted


def test_patience_is_as_promised() -> None:
    """A reader that takes nothing is cut within 35 s."""
    assert 20 <= servers.STUCK_SECONDS <= 35
