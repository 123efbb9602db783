"""What a server mends when it looks: records that nobody is left to write, and queues that nobody listens to."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from progress import mending
from progress.claims import Claim
from progress.memory_store import MemoryStore
from progress.options import Options
from progress.outbox import Shown
from progress.record import Record
from progress.reporter import Job, Reporter
from progress.snapshot import State
from progress.store import Write
from progress.watched import GONE_FOR, Copy, Watched, shown_of

NOW = 1_700_000_000_000_000


class Told:
    """Where announcements go."""

    def __init__(self) -> None:
        self.groups: list[str] = []

    async def __call__(self, group: str, event: dict[str, object]) -> None:
        self.groups.append(group)


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> MemoryStore:
    found = MemoryStore(lambda: NOW + 60_000_000)
    monkeypatch.setattr(mending, "get_store", lambda: found)
    return found


def record(state: State = State.PROGRESS) -> Record:
    """A record as it was shown, with texts, times and a stage."""
    reporter = Reporter(
        Job(key="t", name="tests.job", exec="e", options=Options(unit="rows"), worker="w@host", root="t")
    )
    with reporter.stage("read"):
        reporter.update(current=63, total=100, message="Reading", meta={"a": 1, "private": {"b": 2}})
        texts = reporter.texts(state)
    times = {"queued_at": NOW, "started_at": NOW + 1_000_000, "updated_at": NOW + 2_000_000}
    whose = {"owner": "7", "tree": "flow", "exec": "e", "fence": NOW, "n": 4}
    return Record(seq=NOW + 3_000_000, attempt=2, run=3, state=state, **whose, **times, **texts)


def shown(state: State = State.PROGRESS) -> Shown:
    return shown_of("t", record(state), lambda: "")


def copy(state: State = State.PROGRESS) -> Copy:
    """What a server knows of a task: what is shown, and whose execution the last look has found."""
    return Copy(shown(state), record(state))


async def test_a_record_that_nobody_is_left_to_write_is_put_back_and_asked_about(store: MemoryStore) -> None:
    """Views, owner and times are those that were shown; its lease is over, so whoever looks next asks."""
    told, before = Told(), record()
    await mending.bring_back([Copy(shown_of("t", before, lambda: ""), before)], [], told)
    back = store.load("t")
    assert back is not None
    for staff in (False, True):
        was, is_now = before.snapshot(staff=staff), back.snapshot(staff=staff)
        assert {name for name in was if was[name] != is_now.get(name)} == {"seq"}
        assert set(was) == set(is_now)
    assert (back.exec, back.fence, back.n, back.owner, back.tree) == ("e", NOW, 4, "7", "flow")
    assert back.seq > before.seq
    assert Claim.of(back) == Claim("7", "flow")
    assert (await store.aexpired(9)).keys == ["t"]
    assert len(told.groups) == 2  # the task's own group and its workflow's


async def test_then_nobody_vouches_for_it_and_it_is_presumed_lost(store: MemoryStore) -> None:
    """By the execution that it was, as any other; so a verdict of its worker still counts, too."""
    await mending.bring_back([copy()], [], Told())
    assert store.write(Write("lost", "t", {"exec": "e"})).head.state == State.LOST
    assert store.write(Write("verdict", "t", {"exec": "e", "state": "FAILURE"})).head.state == State.FAILURE


@pytest.mark.parametrize(
    "sign",
    [
        Write("renew", "t", {"exec": "e", "lease": 16}),
        Write("save", "t", {"exec": "e", "fence": NOW, "n": 9, "age": 0, "state": "PROGRESS", "owner": "7"}),
    ],
    ids=["renewal", "report"],
)
async def test_a_worker_that_lives_after_all_takes_it_back(store: MemoryStore, sign: Write) -> None:
    """It is the very execution that was put back."""
    await mending.bring_back([copy()], [], Told())
    store.write(Write("lost", "t", {"exec": "e"}))
    answer = store.write(sign)
    assert answer.healed
    assert (answer.head.attempt, answer.head.state) == (2, State.PROGRESS)


async def test_of_another_attempt_a_look_says_nothing(store: MemoryStore) -> None:
    """A push has brought the next attempt, and then all was gone: whose execution it is, is not known."""
    await mending.bring_back([Copy(shown(), replace(record(), attempt=1))], [], Told())
    back = store.load("t")
    assert back is not None
    assert (back.exec, back.fence, back.attempt) == ("", 0, 2)


@pytest.mark.parametrize("state", [State.SUCCESS, State.PENDING, State.RETRY])
async def test_what_did_not_run_and_is_gone_is_not_put_back(store: MemoryStore, state: State) -> None:
    """The record of an ended task may have run out, and a waiting one gets its own when it starts."""
    await mending.bring_back([copy(state)], [], Told())
    assert store.load("t") is None


async def test_an_end_that_a_failover_has_forgotten_is_put_back(store: MemoryStore) -> None:
    """The record went back to a time before the end, and the worker has nothing more to say."""
    own = {"exec": "e", "fence": 0, "n": 1, "age": 0, "state": "PROGRESS", "owner": "7", "body": '"id":"t"', "run": 3}
    store.write(Write("save", "t", {**own, "lease": 16_000_000}))
    ended = replace(record(State.SUCCESS), seq=NOW + 90_000_000, outcome='"result":5', outcome_staff='"result":5')
    end = shown_of("t", ended, lambda: "")
    await mending.bring_back([], [Copy(end, ended)], Told())
    back = store.load("t")
    assert back is not None
    assert (back.state, back.ended, back.leased_until, back.snapshot()["result"]) == (State.SUCCESS, True, 0, 5)
    assert back.seq > end.seq
    await mending.bring_back([], [copy()], Told())
    assert store.load("t") == back


def test_only_an_end_that_was_read_from_the_record_is_stood_for() -> None:
    """Anybody who reaches the channel layer can announce one."""
    watched, end = Watched(), shown(State.SUCCESS)
    watched.show(end)
    assert not watched.went_back(end.seq - 1)  # it was announced, and never found
    assert not watched.went_back(end.seq)
    assert watched.went_back(end.seq - 1)
    assert not watched.went_back(0)  # there is none, or it is damaged


async def test_what_is_there_is_never_replaced(store: MemoryStore) -> None:
    """A worker was quicker: its word stays."""
    own = {"exec": "e", "fence": 0, "n": 1, "age": 0, "state": "STARTED", "owner": "7", "body": '"id":"t"'}
    store.write(Write("save", "t", own))
    before = store.load("t")
    await mending.bring_back([copy()], [], Told())
    assert store.load("t") == before


def test_a_living_worker_is_given_the_time_to_write_it_itself() -> None:
    """Twice as long as its next sign of life takes; what is shown meanwhile stays."""
    watched = Watched()
    watched.show(shown())
    assert not watched.vanished(100.0)
    assert not watched.vanished(100.0 + GONE_FOR)
    assert watched.vanished(100.1 + GONE_FOR)
    watched.show(shown())
    assert not watched.vanished(200.0)


async def test_a_queue_without_a_worker_is_said_and_taken_back(store: MemoryStore) -> None:
    """Once each time, and only after a worker had time to take the task."""
    told = Told()
    store.write(Write("queue", "t", {"queue": "reports", "body": '"id":"t"'}))
    head = store.load("t")
    assert head is not None
    await mending.say_who_listens({"t": head}, head.queued_at + mending.PATIENCE, told)
    assert not store.load("t").unserved
    later = head.queued_at + mending.PATIENCE + 1
    for _ in range(2):
        await mending.say_who_listens({"t": store.load("t")}, later, told)
    assert json.loads(store.load("t").text())["unserved"] is True
    assert len(told.groups) == 1
    await store.abeat(["reports"], [], 60, 0)
    await mending.say_who_listens({"t": store.load("t")}, later, told)
    assert json.loads(store.load("t").text())["unserved"] is False
