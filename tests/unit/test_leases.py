"""The reaper: when it presumes a task lost, when it holds back, and whom it asks before."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from progress import leases
from progress.counters import counters
from progress.exceptions import StoreUnavailable
from progress.leases import (
    ASK_AT_ONCE,
    AT_ONCE,
    FORBEARANCE,
    GAP,
    LEASE,
    REAP_EVERY,
    RENEW_EVERY,
    SURELY_OVER,
    Held,
    Reaper,
    keep,
    renewal,
)
from progress.memory_store import MemoryStore
from progress.record import Record
from progress.snapshot import State
from progress.store import Answer, Expired, Write
from tests.wire import until

SECOND = 1_000_000  # µs
Ask = Callable[[str, Record], Write | None]


def nobody_knows(_key: str, _record: Record) -> None:
    """A result backend that has nothing."""


class Time:
    """Redis's clock, which passes when the test says so."""

    def __init__(self) -> None:
        self.now = 1_000_000 * SECOND

    def __call__(self) -> int:
        return self.now

    def pass_(self, seconds: float) -> None:
        self.now += int(seconds * SECOND)


class Rig:
    """A store with a clock, one reaper, and everything that was announced."""

    def __init__(self) -> None:
        self.clock = Time()
        self.store = MemoryStore(self.clock)
        self.told: list[tuple[str, dict[str, Any]]] = []

    async def tell(self, group: str, event: dict[str, Any]) -> None:
        self.told.append((group, event))

    def reaper(self, ask: Ask = nobody_knows) -> Reaper:
        return Reaper(self.tell, ask)

    def begin(self, key: str = "a", execution: str = "e1", lease: float = LEASE) -> Answer:
        """A task starts, and promises a sign of life."""
        args = {"exec": execution, "fence": 0, "n": 1, "state": "STARTED", "lease": int(lease * SECOND)}
        answer = self.store.write(Write("save", key, {**args, "body": f'"id":"{key}","name":"t"'}))
        assert answer.accepted
        return answer

    def state(self, key: str = "a") -> str:
        record = self.store.load(key)
        assert record is not None
        return record.state

    async def look(self, reaper: Reaper, seconds: float) -> None:
        """Reap every second for so long."""
        for _ in range(int(seconds)):
            await reaper.reap(self.store)
            self.clock.pass_(1)


@pytest.fixture
def rig() -> Rig:
    return Rig()


async def test_a_lease_that_is_over_is_lost_and_announced(rig: Rig) -> None:
    """By somebody who looked all the time: in the second in which it runs out, counted, and told to who watches."""
    reaper, reaped = rig.reaper(), counters.reaped
    rig.begin()
    await rig.look(reaper, LEASE)
    assert rig.state() == "STARTED"
    await rig.look(reaper, 1)
    assert rig.state() == "LOST"
    assert [event["id"] for _, event in rig.told] == ["a"]
    assert counters.reaped == reaped + 1


async def test_a_lease_that_is_renewed_is_never_lost(rig: Rig) -> None:
    """A renewal each 13 s is enough."""
    reaper = rig.reaper()
    rig.begin()
    for _ in range(5):
        await rig.look(reaper, 13)
        assert rig.store.write(renewal(Held("a", "e1"))).accepted
    assert (rig.state(), rig.told) == ("STARTED", [])


async def test_who_comes_anew_gives_everybody_time_first(rig: Rig) -> None:
    """A reaper's first look accuses nobody: perhaps everything was away, and who lives has had no time to say so."""
    rig.begin()
    rig.clock.pass_(LEASE + 60)
    reaper = rig.reaper()
    await rig.look(reaper, FORBEARANCE)
    assert rig.state() == "STARTED"
    await rig.look(reaper, 1)
    assert rig.state() == "LOST"


async def test_who_could_not_look_for_a_while_gives_everybody_time(rig: Rig) -> None:
    """After a gap of 3 s in its looks, and who renews meanwhile is not accused."""
    reaper = rig.reaper()
    rig.begin("dies"), rig.begin("lives")
    await rig.look(reaper, 10)
    rig.clock.pass_(30)
    await rig.look(reaper, GAP)
    assert rig.store.write(renewal(Held("lives", "e1"))).accepted
    assert (rig.state("dies"), rig.state("lives")) == ("STARTED", "STARTED")
    await rig.look(reaper, FORBEARANCE)
    assert (rig.state("dies"), rig.state("lives")) == ("LOST", "STARTED")


async def test_a_short_gap_is_none(rig: Rig) -> None:
    """Looks that come a little late hold nothing up."""
    reaper = rig.reaper()
    rig.begin()
    for _ in range(7):
        await reaper.reap(rig.store)
        rig.clock.pass_(GAP - 0.5)
    await reaper.reap(rig.store)
    assert rig.state() == "LOST"


@pytest.mark.parametrize("jump", [3600.0, -3600.0])
async def test_a_jump_of_the_clock_accuses_nobody_at_once(rig: Rig, jump: float) -> None:
    """All leases may look over then; whoever lives renews within the time that is given."""
    reaper = rig.reaper()
    await rig.look(reaper, 10)
    rig.begin()
    rig.clock.pass_(jump)
    await rig.look(reaper, 3)
    assert rig.state() == "STARTED"
    assert rig.store.write(renewal(Held("a", "e1"))).accepted
    await rig.look(reaper, LEASE - 1)
    assert rig.state() == "STARTED"
    await rig.look(reaper, 2)
    assert rig.state() == "LOST"


async def test_a_task_without_a_lease_is_never_lost(rig: Rig) -> None:
    """Nobody promised anything: an older worker, or a process that reports once."""
    reaper = rig.reaper()
    rig.begin(lease=0)
    await rig.look(reaper, 100)
    assert rig.state() == "STARTED"


# --- Two, and many -----------------------------------------------------------------------------------------


async def test_of_two_reapers_one_writes_it(rig: Rig) -> None:
    """Both see the same; the loss is written, counted and announced once."""
    both, reaped = [rig.reaper(), rig.reaper()], counters.reaped
    rig.begin()
    for _ in range(int(LEASE) + 1):
        await asyncio.gather(*(reaper.reap(rig.store) for reaper in both))
        rig.clock.pass_(1)
    assert rig.state() == "LOST"
    assert (len(rig.told), counters.reaped) == (1, reaped + 1)


async def test_a_sign_of_life_takes_it_back_and_says_so(rig: Rig) -> None:
    """A renewal by the execution that was lost: running again as before, announced and counted."""
    reaper, healed = rig.reaper(), counters.healed
    rig.begin()
    await rig.look(reaper, LEASE + 1)
    rig.told.clear()
    writes = [renewal(Held("a", "e1"))]
    await leases.tell_all(writes, await rig.store.awrite_many(writes), rig.tell)
    assert (rig.state(), len(rig.told), counters.healed) == ("STARTED", 1, healed + 1)
    await leases.tell_all(writes, await rig.store.awrite_many(writes), rig.tell)
    assert len(rig.told) == 1, "a renewal that changes nothing is not announced"


async def test_more_than_can_be_looked_at_at_once_are_all_found(rig: Rig) -> None:
    """A worker with hundreds of tasks: the rest is the next second's."""
    reaper, count = rig.reaper(), 2 * AT_ONCE + 50
    for number in range(count):
        rig.begin(str(number))
    await rig.look(reaper, LEASE + 3)
    assert {rig.state(str(number)) for number in range(count)} == {"LOST"}


# --- The store ---------------------------------------------------------------------------------------------


async def test_while_the_store_is_away_nothing_is_presumed(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The loop goes on without a word, and after the gap everybody has time to speak."""
    away, looks = [True], [0]

    async def aexpired(limit: int) -> Any:
        looks[0] += 1
        rig.clock.pass_(1)
        if away[0]:
            raise StoreUnavailable("away")
        return await MemoryStore.aexpired(rig.store, limit)

    monkeypatch.setattr(rig.store, "aexpired", aexpired)
    monkeypatch.setattr(leases, "get_store", lambda: rig.store)
    monkeypatch.setattr(leases, "REAP_EVERY", 0.001)
    rig.begin()
    task = asyncio.create_task(rig.reaper().run())
    try:
        await until(lambda: looks[0] > 40)
        assert rig.state() == "STARTED"
        away[0] = False
        back = looks[0]
        await until(lambda: rig.state() == "LOST")
        assert looks[0] - back >= FORBEARANCE
        assert not [record for record in caplog.records if record.levelname == "ERROR"]
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert task.cancelled()


async def test_a_mistake_does_not_end_the_looking(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever a look raises is logged, and the next one is tried."""
    looks = [0]

    async def aexpired(_limit: int) -> Any:
        looks[0] += 1
        raise RuntimeError("nobody foresaw this")

    monkeypatch.setattr(rig.store, "aexpired", aexpired)
    monkeypatch.setattr(leases, "get_store", lambda: rig.store)
    monkeypatch.setattr(leases, "REAP_EVERY", 0.001)
    task = asyncio.create_task(rig.reaper().run())
    try:
        await until(lambda: looks[0] > 2)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert "Lost tasks could not be looked for" in caplog.text


class Vanishing(MemoryStore):
    """As Redis: its list of leases can name a record that is gone, until somebody is told so."""

    listed: set[str]

    async def aexpired(self, limit: int) -> Expired:
        found = await super().aexpired(limit)
        return found._replace(keys=[*found.keys, *sorted(self.listed)])

    def write(self, write: Write) -> Answer:
        if write.op == "lost":
            self.listed.discard(write.key)
        return super().write(write)


async def test_a_lease_whose_record_is_gone_is_taken_off_the_list(rig: Rig) -> None:
    """Expired or evicted: the write that finds no record cleans the list, and nobody is told of anything."""
    rig.store = Vanishing(rig.clock)
    rig.store.listed = {"gone"}
    reaped = counters.reaped
    await rig.look(rig.reaper(), FORBEARANCE + 1)
    assert rig.store.listed == set()
    assert (rig.told, counters.reaped) == ([], reaped)


# --- Who is asked before -----------------------------------------------------------------------------------


def verdict(key: str, record: Record, state: State = State.SUCCESS) -> Write:
    return Write("verdict", key, {"exec": record.exec, "state": str(state), "outcome": "", "outcome_staff": ""})


async def test_an_end_that_somebody_knows_is_written_instead(rig: Rig) -> None:
    """It is shown as what it is, and not counted as lost."""
    reaper, reaped = rig.reaper(verdict), counters.reaped
    rig.begin()
    await rig.look(reaper, LEASE + 1)
    assert (rig.state(), len(rig.told), counters.reaped) == ("SUCCESS", 1, reaped)


async def test_an_end_of_another_execution_is_not_believed(rig: Rig) -> None:
    """While it was asked, the task was delivered again: neither the verdict nor the loss is written."""
    asked = threading.Event()

    def ask(key: str, record: Record) -> Write:
        answer = verdict(key, record)
        rig.begin(execution="e2")
        asked.set()
        return answer

    rig.begin()
    await rig.look(rig.reaper(ask), LEASE + 1)
    assert asked.is_set()
    assert rig.state() == "STARTED"


async def test_who_raises_when_asked_knows_nothing(rig: Rig) -> None:
    """A result backend that is away or refuses: the task is presumed lost, and so is the next."""

    def ask(_key: str, _record: Record) -> Write:
        raise ConnectionError("the backend is away")

    reaper = rig.reaper(ask)
    rig.begin("a"), rig.begin("b")
    await rig.look(reaper, LEASE + 1)
    assert (rig.state("a"), rig.state("b")) == ("LOST", "LOST")


async def test_who_hangs_when_asked_holds_nothing_up(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """A backend that never answers costs a bounded time and a bounded number of threads, whatever is lost."""
    monkeypatch.setattr(leases, "ASK_TIMEOUT", 0.1)
    over, hanging, most = threading.Event(), [0], [0]
    lock = threading.Lock()

    def ask(_key: str, _record: Record) -> None:
        with lock:
            hanging[0] += 1
            most[0] = max(most[0], hanging[0])
        over.wait(30)
        with lock:
            hanging[0] -= 1

    for number in range(50):
        rig.begin(str(number))
    try:
        await rig.look(rig.reaper(ask), LEASE)
        await asyncio.wait_for(rig.look(rig.reaper(ask), FORBEARANCE + 2), 10)
        assert {rig.state(str(number)) for number in range(50)} == {"LOST"}
        assert 1 <= most[0] <= ASK_AT_ONCE
    finally:
        over.set()
    await until(lambda: hanging[0] == 0)  # what it says now comes too late, and hurts nobody
    assert {rig.state(str(number)) for number in range(50)} == {"LOST"}


# --- Who renews --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("until_next", "pause"),
    [(0, RENEW_EVERY), (60, RENEW_EVERY), (2, 2 + SURELY_OVER), (0.2, REAP_EVERY)],
)
def test_a_worker_looks_again_when_the_next_lease_runs_out(until_next: float, pause: float) -> None:
    """Every 3 s, and in between when somebody is late; not more often than a server looks, however many are."""
    now = 1_000_000 * SECOND
    found = Expired(now, [], now + int(until_next * SECOND) if until_next else 0)
    assert leases._pause(found) == pytest.approx(pause)


async def test_a_worker_goes_on_at_once_when_more_are_over_than_it_can_look_at(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker with a thousand tasks was killed: the last of them is not found a quarter of a minute later."""
    monkeypatch.setattr(leases, "get_store", lambda: rig.store)
    monkeypatch.setattr(leases, "REAP_EVERY", 0.001)
    monkeypatch.setattr(leases, "RENEW_EVERY", 3600.0)
    keys = [str(number) for number in range(2 * AT_ONCE + 50)]
    for key in keys:
        rig.begin(key)
    reaper = rig.reaper()
    await rig.look(reaper, LEASE)
    task = asyncio.create_task(keep(list, list, reaper))
    try:
        await until(lambda: {rig.state(key) for key in keys} == {"LOST"})
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_what_is_held_is_renewed_and_its_queues_are_said(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every few seconds, also after a store that was away; a mistake in what is held is logged and ends nothing."""
    monkeypatch.setattr(leases, "get_store", lambda: rig.store)
    monkeypatch.setattr(leases, "RENEW_EVERY", 0.001)
    monkeypatch.setattr(leases, "REAP_EVERY", 0.001)
    rig.begin()
    held: list[Any] = [StoreUnavailable("away"), RuntimeError("nobody foresaw this")]
    rounds = [0]

    def holds() -> list[Held]:
        rounds[0] += 1
        rig.clock.pass_(5)
        if held:
            raise held.pop()
        return [Held("a", "e1"), Held("never seen", "e9")]

    task = asyncio.create_task(keep(holds, lambda: ["reports"], rig.reaper()))
    try:
        await until(lambda: rounds[0] > 20)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    record = rig.store.load("a")
    assert record is not None
    assert record.leased_until > rig.clock.now
    assert await rig.store.alistened(["reports", "other"]) == {"reports"}
    assert rig.store.load("never seen") is None
    rig.clock.pass_(LEASE)
    assert await rig.store.alistened(["reports"]) == set()
