"""What watchers see of true histories whose announcements are shuffled, doubled and lost on their way to the hub."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given
from hypothesis import settings as chosen

from progress import groups, hub, store
from progress.conf import conf
from progress.hub import Hub
from progress.memory_store import MemoryStore
from progress.outbox import Outbox, Shown
from progress.record import Record, Status
from progress.servers import Flow
from progress.snapshot import FINAL, State
from progress.store import Answer, Write, get_store
from tests.wire import until

LEASE = 16_000_000  # µs
KEYS = ("whole", "part")  # the second is counted in the first
OVER = {Status.FENCED, Status.ENDED, Status.REFUSED}  # an execution that is told so says nothing more

MOVES = [
    *("send", "deliver", "deliver", "report", "report", "report", "report", "succeed", "fail", "retry"),
    *("die", "renew", "lapse", "reap", "reap", "verdict", "cancel", "tick"),
]


@dataclass(eq=False)
class Execution:
    """What a worker process knows while it runs a message."""

    key: str
    name: str
    message: str
    began: int
    fence: int = 0
    n: int = 0
    attempt: int = 0
    run: int = 1
    seq: int = 0


@dataclass
class World:
    """Clients, workers and the reaper, played move by move. Every write is one that such a process would make."""

    dice: random.Random
    now: int = field(default_factory=lambda: time.time_ns() // 1000)
    air: list[dict[str, Any]] = field(default_factory=list)  # events on their way
    old: list[dict[str, Any]] = field(default_factory=list)  # all that were ever sent
    truth: dict[tuple[str, int], str] = field(default_factory=dict)  # what each record said at each `seq`
    messages: dict[str, set[str]] = field(default_factory=lambda: {key: set() for key in KEYS})  # in the broker
    running: list[Execution] = field(default_factory=list)
    made: int = 0
    fenced: int = 0
    healed: int = 0

    def clock(self) -> int:
        self.now += 1
        return self.now

    def play(self, move: str, key: str) -> None:
        getattr(self, f"_{move}")(key)

    # --- Processes -----------------------------------------------------------------------------------------

    def _send(self, key: str) -> None:
        message = self._name("message")
        self.messages[key].add(message)
        self._write("queue", key, sent=message, queue="celery", **self._texts(key, State.PENDING))

    def _deliver(self, key: str) -> None:
        """To a worker, be it the first time or because the broker believes that the last one is dead."""
        if self.messages[key]:
            message = self.dice.choice(sorted(self.messages[key]))
            execution = Execution(key, self._name("execution"), message, self.now)
            self.running.append(execution)
            self._save(execution, State.STARTED)

    def _report(self, key: str) -> None:
        for execution in self._some(key):
            self._save(execution, State.PROGRESS)

    def _succeed(self, key: str, state: State = State.SUCCESS) -> None:
        for execution in self._some(key):
            self._save(execution, state)
            self._over(execution)
            self.messages[key].discard(execution.message)

    def _fail(self, key: str) -> None:
        self._succeed(key, self.dice.choice([State.FAILURE, State.IGNORED, State.REJECTED]))

    def _retry(self, key: str) -> None:
        for execution in self._some(key):
            self._save(execution, State.RETRY)
            self._over(execution)
            self._write("queue", key, again="1", sent=execution.message, **self._texts(key, State.PENDING))

    def _die(self, key: str) -> None:
        for execution in self._some(key):
            self._over(execution)

    def _renew(self, key: str) -> None:
        """By the worker's main process, which does not know what its child has been told."""
        for execution in self._some(key):
            self._write("renew", key, exec=execution.name, lease=LEASE)

    def _lapse(self, _key: str) -> None:
        self.now += LEASE + 1_000_000

    def _tick(self, _key: str) -> None:
        self.now += self.dice.randrange(3_000_000)

    def _reap(self, key: str) -> None:
        if record := get_store().load(key):
            self._write("lost", key, exec=record.exec)

    def _verdict(self, key: str) -> None:
        """The main process has seen its child end, or dropped a message that was revoked."""
        for execution in self._some(key):
            self._write("verdict", key, exec=execution.name, state=str(State.FAILURE), **self._texts(key, "FAILURE"))
            self._over(execution)
            return
        if self.messages[key]:
            self.messages[key].discard(self.dice.choice(sorted(self.messages[key])))
            self._write("verdict", key, exec="", state=str(State.REVOKED), **self._texts(key, "REVOKED"))

    def _cancel(self, key: str) -> None:
        self._write("cancel", key, by="7")

    # --- What they do --------------------------------------------------------------------------------------

    def _some(self, key: str) -> list[Execution]:
        mine = [execution for execution in self.running if execution.key == key]
        return [self.dice.choice(mine)] if mine else []

    def _over(self, execution: Execution) -> None:
        if execution in self.running:
            self.running.remove(execution)

    def _name(self, kind: str) -> str:
        self.made += 1
        return f"{kind}-{self.made}"

    def _texts(self, key: str, state: str) -> dict[str, str]:
        over = {"outcome": f'"result":{self.made}'} if state in FINAL else {}
        self.made += 1
        part_of = {"part_of": "whole"} if key == "part" else {}
        return {"owner": "1", "body": f'"id":"{key}","current":{self.made}', "fraction": "0.5", **over, **part_of}

    def _save(self, execution: Execution, state: State) -> None:
        execution.n += 1
        answer = self._write(
            "save",
            execution.key,
            exec=execution.name,
            fence=execution.fence,
            n=execution.n,
            age=self.now - execution.began,
            state=str(state),
            attempt=execution.attempt,
            run=execution.run,
            sent=execution.message,
            lease=LEASE,
            seen=execution.seq,
            **self._texts(execution.key, state),
        )
        head = answer.head
        if answer.accepted:
            execution.fence, execution.attempt, execution.run, execution.seq = (
                head.fence,
                head.attempt,
                head.run,
                head.seq,
            )
        elif answer.status in OVER:
            self._over(execution)

    def _write(self, op: str, key: str, **args: Any) -> Answer:
        answer = get_store().write(Write(op, key, args))
        self.fenced += answer.status is Status.FENCED
        self.healed += answer.healed
        for name in KEYS:  # a part changes its whole
            if record := get_store().load(name):
                self.truth[name, record.seq] = record.text()
        if answer.accepted and (op != "renew" or answer.healed):
            record = get_store().load(key)
            assert record is not None
            texts = (record.text(), record.text(staff=True)) if self.dice.random() < 0.7 else ()
            self.air += [groups.hint(key, record.seq, *texts), *(event for _, event in groups.of_wholes(answer))]
        return answer

    # --- What is on its way --------------------------------------------------------------------------------

    def arrivals(self) -> Iterator[dict[str, Any]]:
        """Some of what is under way, in any order; some of it twice, some of it again, some of it never."""
        self.dice.shuffle(self.air)
        for _ in range(self.dice.randrange(len(self.air) + 1)):
            event, fate = self.air.pop(), self.dice.random()
            self.old.append(event)
            if fate > 0.2:
                yield event
            if fate > 0.8:
                yield event
            if fate > 0.9:
                yield self.dice.choice(self.old)


class Page:
    """A connection whose reader is slow: it is shown the newest that there is when it looks."""

    def __init__(self, the_hub: Hub) -> None:
        self.shown: dict[str, list[dict[str, Any]]] = {key: [] for key in KEYS}
        self.handed: list[Shown] = []
        self.framed: dict[str, list[int]] = {key: [] for key in KEYS}
        self.flow = Flow()
        self.outbox = Outbox(self._send, self.flow, the_hub.now)

    def progress_update(self, shown: Shown) -> None:
        self.handed.append(shown)
        self.shown[shown.key].append(json.loads(shown.public))
        self.outbox.put(shown, staff=False)

    def task_found(self, key: str, record: Record) -> None:
        raise AssertionError(f"nobody follows a user here, yet {key} was found: {record}")

    async def _send(self, message: dict[str, Any]) -> None:
        for item in json.loads(message["text"])["items"]:
            self.framed[item["id"]].append(item["seq"])

    def ends(self, key: str) -> list[tuple[int, int]]:
        """Every (run, attempt) at the moment when it was shown to have ended."""
        found, before = [], None
        for snapshot in self.shown[key]:
            now = (snapshot["run"], snapshot["attempt"], snapshot["state"])
            if snapshot["final"] and now != before:
                found.append(now[:2])
            before = now
        return found


@pytest.fixture(autouse=True)
def surroundings(settings: Any, monkeypatch: Any) -> None:
    """A layer in memory, and a hub that looks only when the test says so."""
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
    settings.PROGRESS_SWEEP_INTERVAL = 3600
    monkeypatch.setattr(hub, "READ_AGAIN", 3600)
    monkeypatch.setattr(hub, "READ_TOGETHER", 0)
    monkeypatch.setattr(store, "_stores", {})


async def play(world: World, moves: list[tuple[str, str]]) -> list[Page]:
    """Two pages that watched while all this happened, the second since half of it had."""
    store._stores[("memory", "", conf.PROGRESS_PREFIX)] = MemoryStore(world.clock)
    own = Hub()
    pages = [Page(own), Page(own)]
    try:
        await converge(world, moves, own, pages)
    finally:
        for page in pages:
            page.outbox.close()
        await own.close()
    return pages


async def converge(world: World, moves: list[tuple[str, str]], own: Hub, pages: list[Page]) -> None:
    """Play, deliver what comes through, then look once."""
    await get_store().abeat(["celery"], [], 1e6, 0)
    await own.watch(KEYS, pages[0])
    for place, (move, key) in enumerate(moves):
        world.play(move, key)
        for event in world.arrivals():
            own._take(event)
        if world.dice.random() < 0.2:
            flow = world.dice.choice(pages).flow
            (flow._takes_more if flow.stuck else flow._takes_nothing)()
        if world.dice.random() < 0.5:
            await asyncio.sleep(0)
        if place == len(moves) // 2:
            await own.watch(KEYS, pages[1])
    await own._look_if_possible(KEYS)
    for page in pages:
        page.flow._takes_more()
    await until(lambda: not (own._to_read._keys or own._turn._changed or any(page.outbox._waiting for page in pages)))


def judge(world: World, page: Page) -> None:
    for key in KEYS:
        record = get_store().load(key)
        seqs = [snapshot["seq"] for snapshot in page.shown[key]]
        for shown in (seqs, page.framed[key]):
            assert shown == sorted(set(shown))
        if record is None:
            assert seqs == []
            continue
        assert page.shown[key][-1] == record.snapshot()
        assert page.framed[key][-1] == record.seq
        ends = page.ends(key)
        assert len(ends) == len(set(ends))
    for handed in page.handed:
        assert handed.public == world.truth[handed.key, handed.seq]


@chosen(max_examples=300)
@given(
    moves=st.lists(st.tuples(st.sampled_from(MOVES), st.sampled_from(KEYS)), max_size=60),
    dice=st.randoms(use_true_random=False),
)
def test_any_shuffle_loss_and_doubling_converges_never_goes_back_and_ends_once(
    moves: list[tuple[str, str]], dice: random.Random
) -> None:
    """Retries, redelivered and re-used tasks, lost ones that come back: one look later every page shows the truth."""
    world = World(dice)
    for page in asyncio.run(play(world, moves)):
        judge(world, page)


def test_the_histories_contain_all_that_can_happen() -> None:
    """What the test above plays is no empty play: retries, second runs, losses and their healing are in it."""
    seed = 20_261_120
    dice, seen = random.Random(seed), set()
    for _ in range(150):
        world = World(dice)
        for page in asyncio.run(play(world, [(dice.choice(MOVES), dice.choice(KEYS)) for _ in range(60)])):
            judge(world, page)
        seen |= {fact for text in world.truth.values() for fact in facts(json.loads(text))}
        seen |= {"fenced"} if world.fenced else set()
        seen |= {"healed"} if world.healed else set()
    wanted = {"run 2", "attempt 2", "children", "cancelled", "fenced", "healed"}
    missing = {*map(str, State), *wanted} - {"RECEIVED"} - seen
    assert missing == set(), f"seed {seed}"


def facts(snapshot: dict[str, Any]) -> Iterator[str]:
    yield snapshot["state"]
    yield f"run {snapshot['run']}"
    yield f"attempt {snapshot['attempt']}"
    if "children" in snapshot:
        yield "children"
    if snapshot["cancel_requested"]:
        yield "cancelled"
