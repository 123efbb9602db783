"""The hub: one group per watched task, newest only, and nobody depends on a single push."""

from __future__ import annotations

import asyncio
import builtins
import json
import random
import re
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import hypothesis.strategies as st
import pytest
from channels.layers import InMemoryChannelLayer
from hypothesis import given
from hypothesis import settings as chosen

from progress import groups, hub, store, subscription
from progress.exceptions import StoreUnavailable
from progress.hub import Hub
from progress.memory_store import MemoryStore
from progress.outbox import Shown
from progress.record import Record
from progress.store import get_store
from tests.acted import ActedTask
from tests.wire import until


class Layer(InMemoryChannelLayer):
    """A layer whose instances share one bus, as those of Redis do, and that can be in trouble."""

    made: ClassVar[list[Layer]] = []
    trouble: ClassVar[dict[str, Any]] = {}

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.made.append(self)
        self.flushed = False

    async def _in_trouble(self, name: str) -> None:
        trouble = self.trouble.get(name)
        if isinstance(trouble, BaseException):
            raise trouble
        if isinstance(trouble, asyncio.Event):
            await trouble.wait()

    async def new_channel(self, prefix: str = "specific.") -> str:
        await self._in_trouble("new_channel")
        return await super().new_channel(prefix)

    async def group_add(self, group: str, channel: str) -> None:
        await self._in_trouble("group_add")
        await super().group_add(group, channel)

    async def group_discard(self, group: str, channel: str) -> None:
        await self._in_trouble("group_discard")
        await super().group_discard(group, channel)

    async def send(self, channel: str, message: Any) -> None:
        await self._in_trouble("send")
        await super().send(channel, message)

    async def receive(self, channel: str) -> Any:
        event = await super().receive(channel)
        if self.trouble.get("deaf") is self:
            await asyncio.Event().wait()
        if isinstance(event.get("raise"), str):
            raise getattr(builtins, event["raise"])("poison")
        return event

    async def flush(self) -> None:
        self.flushed = True
        await super().flush()


class Watcher:
    """What a connection would show."""

    def __init__(self) -> None:
        self.seqs: dict[str, list[int]] = {}
        self.texts: dict[str, tuple[str, str]] = {}
        self.found: list[str] = []

    def progress_update(self, shown: Shown) -> None:
        self.seqs.setdefault(shown.key, []).append(shown.seq)
        self.texts[shown.key] = (shown.public, shown.staff)

    def task_found(self, key: str, record: Record) -> None:
        self.found.append(key)

    def newest(self, key: str) -> int:
        return self.seqs.get(key, [0])[-1]


class FrailStore(MemoryStore):
    """Redis that can be away, for reads and writes of event loops."""

    error: Exception | None = None

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []

    async def awrite_many(self, writes: Any) -> Any:
        self.calls.append("write")
        await asyncio.sleep(0)
        if self.error:
            raise self.error
        return await super().awrite_many(writes)

    async def aload_many(self, keys: Any) -> Any:
        self.calls.append("read")
        await asyncio.sleep(0)
        if self.error:
            raise self.error
        return await super().aload_many(keys)


@pytest.fixture(autouse=True)
def surroundings(settings: Any, monkeypatch: Any) -> FrailStore:
    """A store in memory and a layer of our own, both quick."""
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "tests.unit.test_hub.Layer"}}
    settings.PROGRESS_SWEEP_INTERVAL = 0.05
    monkeypatch.setattr(hub, "READ_AGAIN", 0.05)
    monkeypatch.setattr(subscription, "RESTART_AFTER", 0.02)
    monkeypatch.setattr(subscription, "START_WAIT", 0.1)
    monkeypatch.setattr(subscription, "CANARY_INTERVAL", 0.05)
    Layer.made.clear()
    Layer.trouble.clear()
    frail = FrailStore()
    monkeypatch.setattr(store, "_stores", {("memory", "", settings.PROGRESS_PREFIX): frail})
    return frail


@pytest.fixture
async def the_hub() -> AsyncIterator[Hub]:
    own = Hub()
    yield own
    await own.close()


def silent(task_id: str = "t", **options: Any) -> ActedTask:
    return ActedTask(task_id, hints=False, **options).queue()


def layer() -> Layer:
    """The layer instance that is in use now."""
    return Layer.made[-1]


async def push(task: ActedTask, event: dict[str, Any] | None = None) -> None:
    record = get_store().load(task.key)
    assert record is not None
    event = event or groups.hint(task.key, record.seq, record.text(), record.text(staff=True))
    await layer().group_send(groups.of_key(task.key), event)


async def push_to(its_layer: Layer, event: dict[str, Any]) -> None:
    """Into every group that this instance knows."""
    for group in list(its_layer.groups):
        await its_layer.group_send(group, event)


def joined() -> set[str]:
    """Groups that some channel of the layer in use is in."""
    return {group for group, channels in layer().groups.items() if channels}


# --- Watching ----------------------------------------------------------------------------------------------


async def test_what_is_known_is_shown_to_each_watcher_at_once(the_hub: Hub) -> None:
    """The first watcher costs a read, the next ones are shown the same without one."""
    task = silent().run(1, 2)
    one, two = Watcher(), Watcher()
    await the_hub.watch([task.key], one)
    await the_hub.watch([task.key], two)
    assert one.seqs == two.seqs == {task.key: [task.head.seq]}


async def test_a_group_is_joined_once_and_left_with_the_last_watcher(the_hub: Hub) -> None:
    """However many watch, one membership; when nobody does, none."""
    task = silent()
    watchers = [Watcher() for _ in range(50)]
    for watcher in watchers:
        await the_hub.watch([task.key], watcher)
    assert [len(channels) for channels in layer().groups.values()] == [1]
    for watcher in watchers:
        assert joined() == {groups.of_key(task.key)}
        await the_hub.unwatch([task.key], watcher)
    assert joined() == set()
    assert the_hub._tasks == {}


async def test_a_crowd_costs_a_few_looks_at_the_store(the_hub: Hub, settings: Any, surroundings: FrailStore) -> None:
    """Who comes while one is served is served with the others: 500 connections, each with a task of its own."""
    settings.PROGRESS_SWEEP_INTERVAL = 60
    tasks, watcher = [silent(f"t{number}") for number in range(500)], Watcher()

    async def connect(key: str) -> None:
        assert list(await the_hub.read([key])) == [key]
        await the_hub.watch([key], watcher)

    await asyncio.gather(*(connect(task.key) for task in tasks))
    assert {key: len(seqs) for key, seqs in watcher.seqs.items()} == {task.key: 1 for task in tasks}
    # All have read, the first has begun to watch, and the rest with it.
    assert surroundings.calls.count("write") <= 2
    assert surroundings.calls.count("read") <= 2 * 500 / hub.AT_ONCE + 4


async def test_who_cannot_be_served_is_told_with_all_the_others(the_hub: Hub, surroundings: FrailStore) -> None:
    """The same `StoreUnavailable`, for one look; the next are served."""
    keys, surroundings.error = [silent(f"t{number}").key for number in range(50)], StoreUnavailable("away")
    told = await asyncio.gather(*(the_hub.read([key]) for key in keys), return_exceptions=True)
    assert set(map(id, told)) == {id(surroundings.error)}
    assert surroundings.calls == ["read"]
    surroundings.error = None
    assert list(await the_hub.read(keys[:1])) == keys[:1]


async def test_a_push_is_passed_on_as_it_came(the_hub: Hub) -> None:
    """The event's own texts go to the watchers: nothing is read, nothing is encoded again."""
    task, watcher = silent(), Watcher()
    await the_hub.watch([task.key], watcher)
    task.run(5, 10)
    await push(task)
    await until(lambda: watcher.newest(task.key) == task.head.seq)
    record = get_store().load(task.key)
    assert watcher.texts[task.key] == (record.text(), record.text(staff=True))


async def test_all_watchers_are_given_the_very_same_text(the_hub: Hub) -> None:
    """Encoded once per view, whoever watches."""
    task, watchers = silent(), [Watcher() for _ in range(10)]
    for watcher in watchers:
        await the_hub.watch([task.key], watcher)
    task.run(5, 10)
    await push(task)
    await until(lambda: all(watcher.newest(task.key) == task.head.seq for watcher in watchers))
    assert len({id(watcher.texts[task.key][0]) for watcher in watchers}) == 1


async def test_a_hint_without_a_snapshot_is_read(the_hub: Hub) -> None:
    """An event that only says "something changed" leads to the record."""
    task, watcher = silent(), Watcher()
    await the_hub.watch([task.key], watcher)
    task.run(5, 10)
    await push(task, groups.hint(task.key, task.head.seq))
    await until(lambda: watcher.newest(task.key) == task.head.seq)


async def test_a_lost_push_costs_one_sweep(the_hub: Hub) -> None:
    """Everything watched is looked at again, whether anybody announced a change or not."""
    task, watcher = silent(), Watcher()
    await the_hub.watch([task.key], watcher)
    await asyncio.sleep(0.06)  # past the look after joining
    task.run(5, 10)
    await until(lambda: watcher.newest(task.key) == task.head.seq, seconds=1)


async def test_after_a_join_the_record_is_read_again(the_hub: Hub, settings: Any) -> None:
    """A change between joining and its effect is seen without waiting for the sweep."""
    settings.PROGRESS_SWEEP_INTERVAL = 60
    task, watcher = silent(), Watcher()
    await the_hub.watch([task.key], watcher)
    task.end()
    await until(lambda: watcher.newest(task.key) == task.head.seq, seconds=1)


async def test_watching_says_so_in_the_record(the_hub: Hub) -> None:
    """Workers learn from the record that somebody is looking, for a few sweeps from now."""
    task = silent()
    await the_hub.watch([task.key], Watcher())
    record = get_store().load(task.key)
    assert 0 < record.watched_until - record.updated_at <= 500_000


async def test_a_first_watcher_wakes_the_worker(the_hub: Hub) -> None:
    """The process that runs the task is told at once, not at its next report."""
    task = silent().run(1, 2)
    get_store()._records[task.key] = _of_process(get_store().load(task.key), "p1")
    own = Layer()
    channel = await own.new_channel()
    groups.layer().groups.setdefault(groups.of_process("p1"), {})[channel] = 2e9
    sent = []
    groups.layer().group_send = lambda group, event: _note(sent, group, event)  # type: ignore[method-assign]
    await the_hub.watch([task.key], Watcher())
    await the_hub.watch([task.key], Watcher())
    assert sent == [(groups.of_process("p1"), {"type": "progress.control", "id": task.key, "cancel": False})]


async def _note(sent: list[Any], group: str, event: dict[str, Any]) -> None:
    sent.append((group, event))


def _of_process(record: Record | None, process: str) -> Record:
    assert record is not None
    return replace(record, process=process)


async def test_the_hub_tells_the_time_of_the_store(the_hub: Hub, surroundings: FrailStore) -> None:
    """`now` follows Redis's clock, however wrong this machine's is."""
    surroundings._clock = lambda: 4_000_000_000_000_000
    await the_hub.watch([silent().key], Watcher())
    assert the_hub.now().startswith("2096-10-02T07:06:40")


# --- Order -------------------------------------------------------------------------------------------------


@chosen(max_examples=60)
@given(
    order=st.randoms(use_true_random=False),
    lost=st.sets(st.integers(0, 11)),
    doubled=st.lists(st.integers(0, 11), max_size=8),
    stages=st.integers(1, 3),
)
def test_any_shuffle_loss_and_doubling_converges_and_never_goes_back(
    order: random.Random, lost: set[int], doubled: list[int], stages: int
) -> None:
    """Whatever becomes of the events of several tasks, each watcher's numbers only rise, and end with the newest."""

    async def play() -> None:
        get_store()._records.clear()  # hypothesis runs this many times within one test
        own, watcher, tasks = Hub(), Watcher(), [silent(f"t{n}") for n in range(2)]
        try:
            keys = [task.key for task in tasks]
            await own.watch(keys, watcher)
            for _ in range(stages):
                events = []
                for step in range(6):
                    for task in tasks:
                        task.run(step, 10)
                        record = get_store().load(task.key)
                        text = (record.text(), record.text(staff=True)) if order.random() < 0.7 else ()
                        events.append(groups.hint(task.key, record.seq, *text))
                sent = [event for number, event in enumerate(events) if number not in lost]
                sent += [events[number] for number in doubled]
                order.shuffle(sent)
                for event in sent:
                    own._take(event)
                    if order.random() < 0.3:
                        await asyncio.sleep(0)
            await until(lambda: all(watcher.newest(task.key) >= task.head.seq for task in tasks))
            for task in tasks:
                seqs = watcher.seqs[task.key]
                assert seqs == sorted(set(seqs))
                assert seqs[-1] == task.head.seq
        finally:
            await own.close()

    asyncio.run(play())


async def test_a_million_stale_events_change_nothing(the_hub: Hub) -> None:
    """Replayed and shuffled history is dropped by comparing one number."""
    task, watcher = silent(), Watcher()
    await the_hub.watch([task.key], watcher)
    events = []
    for step in range(100):
        task.run(step, 100)
        record = get_store().load(task.key)
        events.append(groups.hint(task.key, record.seq, record.text(), record.text(staff=True)))
    the_hub._take(events[-1])
    for _ in range(10_000):
        for event in events:
            the_hub._take(event)
    await asyncio.sleep(0)
    assert watcher.newest(task.key) == task.head.seq
    assert watcher.seqs[task.key] == sorted(set(watcher.seqs[task.key]))
    assert len(watcher.seqs[task.key]) == 2


# --- Strangers ---------------------------------------------------------------------------------------------

FAIR = time.time_ns() // 1000 + 240_000_000  # a number that a running task might have, also when the tests take long
POISON: list[Any] = [
    None,
    5,
    "text",
    [],
    {},
    {"type": "progress.update"},
    {"type": "websocket.disconnect", "id": "t", "seq": 2**60},
    {"type": "progress.update", "id": 5, "seq": 2**60},
    {"type": "progress.update", "id": ["t"], "seq": 2**60},
    {"type": "progress.update", "id": "t", "seq": "9"},
    {"type": "progress.update", "id": "t", "seq": None},
    {"type": "progress.update", "id": "t", "seq": 2**60, "snapshot": "{"},
    {"type": "progress.update", "id": "t", "seq": 2**60, "snapshot": "[]"},
    {"type": "progress.update", "id": "t", "seq": 2**60, "snapshot": b"{}"},
    {"type": "progress.update", "id": "t", "seq": 2**60, "snapshot": 5},
    {"type": "progress.update", "id": "t", "seq": 2**60, "snapshot": '{"id":"other","seq":1152921504606846976}'},
    {"type": "progress.update", "id": "t", "seq": 2**60, "snapshot": '{"id":"t","seq":1}'},
    {"type": "progress.update", "id": "t", "seq": 2**60, "snapshot": f'{{"id":"t","seq":{2**60}}}'},
    {"type": "progress.update", "id": "t", "seq": FAIR, "snapshot": "["},
    {"type": "progress.update", "id": "t", "seq": FAIR, "snapshot": "[" * 200_000},
]


# By number: some name the time, and two processes must agree on what the cases are called.
@pytest.mark.parametrize("event", POISON, ids=range(len(POISON)))
async def test_what_is_not_ours_is_dropped_and_counted(the_hub: Hub, event: Any) -> None:
    """It is shown to nobody and raises nothing; the next event is passed on."""
    task, watcher = silent("t"), Watcher()
    await the_hub.watch([task.key], watcher)
    the_hub._take(event)
    assert the_hub.dropped == 1
    task.run(1, 2)
    await push(task)
    await until(lambda: watcher.newest(task.key) == task.head.seq)
    assert all(json.loads(text) for text in watcher.texts["t"])


async def test_a_staff_view_of_something_else_is_not_shown_to_staff(the_hub: Hub) -> None:
    """When the staff text does not fit the event, staff are shown the public one."""
    task, watcher = silent("t"), Watcher()
    await the_hub.watch([task.key], watcher)
    record = get_store().load(task.run(1, 2).key)
    the_hub._take(groups.hint("t", record.seq, record.text(), '{"id":"other","seq":1}'))
    await asyncio.sleep(0)
    assert watcher.texts["t"] == (record.text(), record.text())


async def test_a_number_from_the_future_hides_nothing_without_a_snapshot(the_hub: Hub) -> None:
    """A forged hint leads to the record, and the record says what is shown."""
    task, watcher = silent("t"), Watcher()
    await the_hub.watch([task.key], watcher)
    the_hub._take(groups.hint("t", 2**62))
    task.end()
    await until(lambda: watcher.newest("t") == task.head.seq)


async def test_a_damaged_number_in_a_record_is_healed_with_the_record(the_hub: Hub, surroundings: FrailStore) -> None:
    """What was shown with an impossible number is replaced as soon as the record is sound again."""
    task, watcher = silent("t").run(1, 2), Watcher()
    sound = surroundings._records["t"]
    surroundings._records["t"] = replace(sound, seq=2**60)
    await the_hub.watch(["t"], watcher)
    assert watcher.newest("t") == 2**60
    surroundings._records["t"] = sound
    await until(lambda: watcher.newest("t") == sound.seq)
    task.end()
    await push(task)
    await until(lambda: watcher.newest("t") == task.head.seq)


async def test_a_push_of_another_run_is_read_before_it_is_shown(the_hub: Hub) -> None:
    """An event does not say whose run it is of; what is shown carries the owner that the record names."""
    claims = []

    class Looking(Watcher):
        def progress_update(self, shown: Shown) -> None:
            claims.append((shown.claim.owner, shown.life[0] if shown.life else None))

    silent("t", owner="1").end()
    await the_hub.watch(["t"], Looking())
    again = silent("t", owner="2").run(1, 2)
    await push(again)
    await until(lambda: ("2", 2) in claims)
    again.run(2, 2)
    await push(again)
    await until(lambda: len(claims) >= 3)
    assert set(claims) == {("1", 1), ("2", 2)}


async def test_a_message_that_cannot_be_decoded_does_not_deafen_the_hub(the_hub: Hub) -> None:
    """Poison costs a count; the channel is kept and the next push arrives."""
    task, watcher = silent(), Watcher()
    await the_hub.watch([task.key], watcher)
    for _ in range(20):
        await push(task, {"type": "x", "raise": "ValueError"})
    task.run(1, 2)
    await push(task)
    await until(lambda: watcher.newest(task.key) == task.head.seq)
    assert (the_hub.dropped, len(Layer.made)) == (20, 1)


async def test_a_damaged_record_is_left_out(the_hub: Hub, surroundings: FrailStore) -> None:
    """Its watchers are shown nothing of it, those of other tasks are served."""
    broken, sound, watcher = silent("broken"), silent("sound"), Watcher()
    surroundings._records["broken"] = Record(seq=5, body="{{{")
    await the_hub.watch(["broken", "sound"], watcher)
    sound.end()
    await until(lambda: watcher.newest("sound") == sound.head.seq)
    assert "broken" not in watcher.seqs
    assert the_hub.dropped >= 1
    assert broken.key in the_hub._tasks


# --- The layer in trouble ----------------------------------------------------------------------------------


async def test_a_dead_receiver_is_replaced_by_a_new_instance_that_joins_everything(the_hub: Hub) -> None:
    """What ended the receiver does not keep it ended; what was missed meanwhile is read."""
    task, watcher = silent(owner="1"), Watcher()
    await the_hub.watch([task.key], watcher)
    await the_hub.follow("1", watcher)
    dead = layer()
    await push(task, {"type": "x", "raise": "ConnectionError"})
    await until(lambda: layer() is not dead)
    task.run(1, 2)
    await until(lambda: joined() == {groups.of_key(task.key), groups.of_owner("1")})
    await until(lambda: watcher.newest(task.key) == task.head.seq)
    task.run(2, 2)
    await push(task)
    await until(lambda: watcher.newest(task.key) == task.head.seq)


async def test_a_deaf_receiver_is_replaced(the_hub: Hub) -> None:
    """A layer that takes what is sent and delivers nothing is noticed by its canary and replaced."""
    task, watcher = silent(), Watcher()
    await the_hub.watch([task.key], watcher)
    Layer.trouble["deaf"] = deaf = layer()
    await until(lambda: layer() is not deaf and joined() == {groups.of_key(task.key)}, seconds=2)
    task.run(1, 2)
    await push(task)
    await until(lambda: watcher.newest(task.key) == task.head.seq)


async def test_a_layer_that_takes_nothing_is_not_called_deaf(the_hub: Hub) -> None:
    """While Redis is away nothing is replaced, however long that lasts; afterwards it goes on as before."""
    task, watcher = silent(), Watcher()
    await the_hub.watch([task.key], watcher)
    Layer.trouble["send"] = ConnectionError("away")
    await asyncio.sleep(0.5)
    Layer.trouble.clear()
    await asyncio.sleep(0.2)
    assert len(Layer.made) == 1
    task.run(1, 2)
    await push(task)
    await until(lambda: watcher.newest(task.key) == task.head.seq)


async def test_canaries_are_nobodys_news(the_hub: Hub) -> None:
    """They are neither shown nor counted as strangers."""
    await the_hub.watch([silent().key], Watcher())
    await until(lambda: the_hub._subscription._heard >= 3)
    assert the_hub.dropped == 0


def test_deafness_is_noticed_in_time() -> None:
    """A deaf process replaces its receiver within 10 s (the numbers as they are written, not as patched here)."""
    source = Path(subscription.__file__).read_text()
    interval, canaries = (float(re.search(rf"^{name}: Final = ([0-9.]+)", source, re.M)[1]) for name in NUMBERS)
    assert interval * (canaries + 1) <= 10


NUMBERS = ("CANARY_INTERVAL", "CANARIES")


async def test_a_layer_that_is_away_at_the_start_is_waited_for(the_hub: Hub) -> None:
    """The sweep serves the watchers meanwhile; each attempt is cleaned up; when the layer is back it is used."""
    Layer.trouble["new_channel"] = ConnectionError("away")
    task, watcher = silent(), Watcher()
    await the_hub.watch([task.key], watcher)
    assert watcher.newest(task.key) == task.head.seq
    await until(lambda: len(Layer.made) >= 4)
    # The first is the site's own and not ours to close.
    assert [each.flushed for each in Layer.made[:-1]] == [False, *[True] * (len(Layer.made) - 2)]
    task.run(1, 2)
    await until(lambda: watcher.newest(task.key) == task.head.seq)
    Layer.trouble.clear()
    await until(lambda: joined() == {groups.of_key(task.key)})


async def test_a_join_that_failed_is_made_up_for(the_hub: Hub) -> None:
    """A layer that refused to join is asked again at the next sweep."""
    Layer.trouble["group_add"] = ConnectionError("away")
    task, watcher = silent(), Watcher()
    await the_hub.watch([task.key], watcher)
    assert joined() == set()
    Layer.trouble.clear()
    await until(lambda: joined() == {groups.of_key(task.key)})


async def test_while_the_layer_hangs_nothing_piles_up(the_hub: Hub, monkeypatch: Any) -> None:
    """Joins are given up and tried again, one at a time; when the layer answers, everything is joined."""
    monkeypatch.setattr(subscription, "CALL_TIMEOUT", 0.05)
    await the_hub.watch([silent("first").key], Watcher())
    Layer.trouble["group_add"] = hanging = asyncio.Event()
    await the_hub.watch([silent("second").key], Watcher())
    for _ in range(20):
        assert len(the_hub._subscription._changes) <= 1
        await asyncio.sleep(0.02)
    hanging.set()
    await until(lambda: joined() == {groups.of_key("first"), groups.of_key("second")})


async def test_a_layer_that_hangs_delays_a_watcher_of_many_tasks_once(the_hub: Hub, monkeypatch: Any) -> None:
    """The workers of all of them are woken together, after the watcher was shown what is known."""
    monkeypatch.setattr(subscription, "CALL_TIMEOUT", 0.1)
    await the_hub.watch([silent("first").key], Watcher())
    monkeypatch.setattr(layer(), "group_send", lambda *_args: asyncio.Event().wait())
    keys, watcher = [f"t{number}" for number in range(50)], Watcher()
    for key in keys:
        silent(key).run(1, 2)
        get_store()._records[key] = _of_process(get_store().load(key), f"process of {key}")
    async with asyncio.timeout(2):
        await the_hub.watch(keys, watcher)
    assert watcher.seqs.keys() == set(keys)


async def test_a_channel_that_is_given_up_leaves_its_groups(the_hub: Hub) -> None:
    """The site's own layer is not emptied, so the old channel is taken out of it by name."""
    await the_hub.watch([silent().key], Watcher())
    own = layer()
    await push_to(own, {"type": "x", "raise": "ConnectionError"})
    await until(lambda: layer() is not own and joined() != set())
    assert not own.flushed
    assert all(not channels for channels in own.groups.values())


async def test_what_is_no_dict_does_not_cost_the_channel(the_hub: Hub) -> None:
    """A layer may stumble over a stranger's message with more than one kind of error."""
    task, watcher = silent(), Watcher()
    await the_hub.watch([task.key], watcher)
    for error in ("TypeError", "KeyError", "AttributeError"):
        await push(task, {"type": "x", "raise": error})
    task.run(1, 2)
    await push(task)
    await until(lambda: watcher.newest(task.key) == task.head.seq)
    assert (the_hub.dropped, len(Layer.made)) == (3, 1)


async def test_a_leave_that_failed_is_made_up_for(the_hub: Hub) -> None:
    """A group that could not be left is left at the next sweep."""
    task, watcher = silent(), Watcher()
    await the_hub.watch([task.key], watcher)
    Layer.trouble["group_discard"] = ConnectionError("away")
    await the_hub.unwatch([task.key], watcher)
    assert joined() == {groups.of_key(task.key)}
    Layer.trouble.clear()
    await until(lambda: joined() == set())


async def test_a_layer_that_hangs_holds_up_no_watcher(the_hub: Hub) -> None:
    """Joins that never return cost a moment once, however many tasks are watched."""
    tasks, watcher = [silent(f"t{n}") for n in range(50)], Watcher()
    await the_hub.watch([tasks[0].key], Watcher())
    Layer.trouble["group_add"] = hanging = asyncio.Event()
    async with asyncio.timeout(1):
        await the_hub.watch([task.key for task in tasks], watcher)
    assert len(watcher.seqs) == 50
    hanging.set()
    await until(lambda: len(joined()) == 50)


# --- The store in trouble ----------------------------------------------------------------------------------


async def test_a_watch_without_a_store_leaves_nothing_behind(the_hub: Hub, surroundings: FrailStore) -> None:
    """The watcher is told by an exception; once it has given up, hub and layer are as before."""
    task, watcher = silent(), Watcher()
    surroundings.error = StoreUnavailable()
    with pytest.raises(StoreUnavailable):
        await the_hub.watch([task.key], watcher)
    await the_hub.unwatch([task.key], watcher)
    assert the_hub._tasks == {}
    assert joined() == set()


async def test_who_stays_is_served_when_the_store_is_back(the_hub: Hub, surroundings: FrailStore) -> None:
    """A second watcher of the same task does not depend on the first one's luck."""
    task, one, two = silent(), Watcher(), Watcher()
    surroundings.error = StoreUnavailable()
    with suppress(StoreUnavailable):
        await the_hub.watch([task.key], one)
    await the_hub.unwatch([task.key], one)
    with suppress(StoreUnavailable):
        await the_hub.watch([task.key], two)
    surroundings.error = None
    await until(lambda: two.newest(task.key) == task.head.seq)


@pytest.mark.parametrize("error", [StoreUnavailable(), RuntimeError("a bug")], ids=repr)
async def test_the_sweep_outlives_every_error(
    the_hub: Hub, surroundings: FrailStore, error: Exception, caplog: Any
) -> None:
    """Whatever a look at the store raises, the next one takes place."""
    task, watcher = silent(), Watcher()
    await the_hub.watch([task.key], watcher)
    surroundings.error = error
    the_hub._to_read.add(task.key)
    await asyncio.sleep(0.3)
    surroundings.error = None
    task.end()
    await until(lambda: watcher.newest(task.key) == task.head.seq)
    the_hub._take(groups.hint(task.key, task.run(0).head.seq + 1))


# --- Coming and going --------------------------------------------------------------------------------------


async def test_a_watcher_that_leaves_while_it_joins_does_not_take_the_others_group(the_hub: Hub) -> None:
    """Cancelled in the middle of joining, it leaves behind a join for those who came after it."""
    await the_hub.watch([silent("warm").key], Watcher())
    task, one, two = silent("t"), Watcher(), Watcher()
    Layer.trouble["group_add"] = hanging = asyncio.Event()
    leaving = asyncio.create_task(the_hub.watch([task.key], one))
    await asyncio.sleep(0.01)
    staying = asyncio.create_task(the_hub.watch([task.key], two))
    await asyncio.sleep(0.01)
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    await the_hub.unwatch([task.key], one)
    hanging.set()
    await staying
    await until(lambda: groups.of_key(task.key) in joined())
    await until(lambda: two.newest(task.key) == task.head.seq)


async def test_leaving_and_coming_back_at_once_stays_joined(the_hub: Hub) -> None:
    """The last watcher's leave and the next one's join end with a membership, in whatever order they run."""
    task, one, two = silent(), Watcher(), Watcher()
    await the_hub.watch([task.key], one)
    for _ in range(20):
        await asyncio.gather(the_hub.unwatch([task.key], one), the_hub.watch([task.key], two))
        assert joined() == {groups.of_key(task.key)}
        one, two = two, one


MOVES = st.lists(
    st.tuples(st.sampled_from(["watch", "unwatch", "cancel", "turn"]), st.integers(0, 3), st.integers(0, 2)),
    max_size=40,
)


@chosen(max_examples=60)
@given(MOVES)
def test_any_coming_and_going_ends_with_the_right_groups(moves: list[tuple[str, int, int]]) -> None:
    """Watchers that come, go and are cut off in the middle leave exactly the groups of those who stayed."""

    async def play() -> None:
        get_store()._records.clear()
        own, watchers = Hub(), [Watcher() for _ in range(4)]
        tasks = [silent(f"t{number}") for number in range(3)]
        running: dict[Watcher, asyncio.Task[None]] = {}
        wanted: set[tuple[int, int]] = set()
        try:
            for move, who, which in moves:
                watcher, key = watchers[who], tasks[which].key
                before = running.pop(watcher, None)
                if move == "cancel" and before is not None:
                    # As a connection that is cut: whatever it did ends, then it gives up everything.
                    before.cancel()
                if before is not None:
                    await asyncio.gather(before, return_exceptions=True)
                if move == "watch":
                    running[watcher] = asyncio.create_task(own.watch([key], watcher))
                    wanted.add((who, which))
                elif move == "unwatch":
                    running[watcher] = asyncio.create_task(own.unwatch([key], watcher))
                    wanted.discard((who, which))
                elif move == "cancel":
                    await own.unwatch([task.key for task in tasks], watcher)
                    wanted = {pair for pair in wanted if pair[0] != who}
                await asyncio.sleep(0)
            await asyncio.gather(*running.values())
            keys = {tasks[which].key for _, which in wanted}
            assert own._tasks.keys() == keys
            await until(lambda: own._subscription._joined == set(map(groups.of_key, keys)))
            await until(lambda: all(watchers[who].newest(tasks[n].key) == tasks[n].head.seq for who, n in wanted))
        finally:
            await own.close()

    asyncio.run(play())


async def test_a_thousand_watchers_leave_no_trace(the_hub: Hub) -> None:
    """After they have come and gone there is no entry, no group and no task of the loop more than before."""
    task = silent()
    await the_hub.watch(["warm"], Watcher())
    await until(lambda: the_hub._subscription._heard and not the_hub._subscription._changes)
    before = len(asyncio.all_tasks())

    async def visit(number: int) -> None:
        watcher = Watcher()
        try:
            await the_hub.watch([task.key, f"t{number % 7}"], watcher)
        finally:
            await the_hub.unwatch([task.key, f"t{number % 7}"], watcher)

    visits = [asyncio.create_task(visit(number)) for number in range(1000)]
    await asyncio.sleep(0)
    for each in visits[::3]:
        each.cancel()
    await asyncio.gather(*visits, return_exceptions=True)
    assert the_hub._tasks.keys() == {"warm"}
    await until(lambda: joined() == {groups.of_key("warm")})
    await until(lambda: len(asyncio.all_tasks()) == before)


async def test_a_hub_that_is_closed_leaves_nothing_behind_whatever_swallows_a_cancellation(monkeypatch: Any) -> None:
    """As `wait_for` of Python 3.11 does in the moment of an answer: `asyncio.run` would wait for it for ever."""
    before = asyncio.all_tasks()
    swallowed = list[str]()

    async def receive(_self: Layer, channel: str) -> None:
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                swallowed.append(channel)
                if len(swallowed) > 3:
                    raise

    monkeypatch.setattr(Layer, "receive", receive)
    own = Hub()
    await own.watch([silent().key], Watcher())
    await own.close()
    assert len(swallowed) == 4
    assert asyncio.all_tasks() == before


# --- Following a user --------------------------------------------------------------------------------------


async def test_a_follower_is_told_of_unfinished_tasks_and_of_later_ones(the_hub: Hub) -> None:
    """Those that run now, those that come, not those that had ended before."""
    running, over, watcher = silent("running", owner="1"), silent("over", owner="1").end(), Watcher()
    await the_hub.follow("1", watcher)
    assert watcher.found == [running.key]
    later = silent("later", owner="1")
    await layer().group_send(groups.of_owner("1"), groups.hint(later.key, later.head.seq))
    await until(lambda: later.key in watcher.found)
    assert over.key not in watcher.found


async def test_a_follower_is_told_of_what_was_never_announced(the_hub: Hub) -> None:
    """A sweep finds a task whose hint was lost, even one that is over by then."""
    watcher = Watcher()
    await the_hub.follow("1", watcher)
    lost, brief = silent("lost", owner="1"), silent("brief", owner="1").end()
    await until(lambda: {lost.key, brief.key} <= set(watcher.found))
    told = watcher.found.count(brief.key)
    await asyncio.sleep(0.3)
    assert watcher.found.count(brief.key) == told == 1


async def test_a_second_follower_is_told_of_what_the_first_watches(the_hub: Hub) -> None:
    """Two browsers of one user find the same tasks."""
    task, one, two = silent(owner="1"), Watcher(), Watcher()
    await the_hub.follow("1", one)
    await the_hub.watch([task.key], one)
    await the_hub.follow("1", two)
    assert two.found == [task.key]


async def test_a_hub_that_nobody_uses_does_nothing(the_hub: Hub, settings: Any, surroundings: FrailStore) -> None:
    """Between two sweeps an idle hub does not wake up; what it need not remember of a user is forgotten."""
    settings.PROGRESS_SWEEP_INTERVAL = 60
    await the_hub.follow("1", Watcher())
    taking = the_hub._to_read.take
    calls = []
    the_hub._to_read.take = lambda: calls.append(1) or taking()  # type: ignore[method-assign,func-returns-value]
    await asyncio.sleep(0.2)
    assert calls == []


async def test_ended_tasks_that_the_store_forgot_are_forgotten(the_hub: Hub, surroundings: FrailStore) -> None:
    """A user's memory in the hub is no larger than the store's."""
    await the_hub.follow("1", Watcher())
    silent("brief", owner="1").end()
    await until(lambda: the_hub._users._owners["1"].ended == {"brief"})
    surroundings._mine["1"].clear()
    await until(lambda: the_hub._users._owners["1"].ended == set())


async def test_nobody_is_told_of_other_peoples_tasks(the_hub: Hub) -> None:
    """A hint in a user's group about somebody else's task tells that user nothing."""
    foreign, watcher = silent("foreign", owner="2"), Watcher()
    await the_hub.follow("1", watcher)
    await layer().group_send(groups.of_owner("1"), groups.hint(foreign.key, foreign.head.seq))
    await asyncio.sleep(0.2)
    assert watcher.found == []


async def test_the_last_follower_leaves_the_group(the_hub: Hub) -> None:
    """Nothing of a user stays when nobody follows, however often it is said."""
    one, two = Watcher(), Watcher()
    for watcher in (one, two, one):
        await the_hub.follow("1", watcher)
    assert joined() == {groups.of_owner("1")}
    for watcher in (one, one, two, two):
        await the_hub.unfollow("1", watcher)
    assert joined() == set()
    assert the_hub._users._owners == {}


# --- One per loop ------------------------------------------------------------------------------------------


def test_each_event_loop_has_one_hub() -> None:
    """Within a loop always the same, in the next loop another; a loop that is gone keeps none."""

    async def twice() -> tuple[Hub, Hub]:
        return hub.get_hub(), hub.get_hub()

    first, again = asyncio.run(twice())
    other, _ = asyncio.run(twice())
    assert first is again
    assert first is not other


class CoreLayer(Layer):
    """As the core layer: it keeps its members in Redis, and says nothing when they are gone."""

    async def close_pools(self) -> None:
        await super().flush()


async def test_a_core_layer_that_has_forgotten_us_is_joined_again(
    the_hub: Hub, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redis was emptied, or a day has passed: pushes come again, not only looks."""
    monkeypatch.setattr(subscription, "JOIN_AGAIN", 0.0)
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": f"{__name__}.CoreLayer"}}
    task, watcher = silent(), Watcher()
    await the_hub.watch([task.key], watcher)
    layer = the_hub._subscription._layer
    group = groups.of_key(task.key)
    await until(lambda: layer.groups.get(group))
    layer.groups.clear()
    await until(lambda: layer.groups.get(group), seconds=2)
