"""`record.lua` and `workflow.py` count the same: any history of any tasks ends in the same sums."""

from __future__ import annotations

from collections import Counter
from typing import Any

import hypothesis.strategies as st
from hypothesis import HealthCheck, given, settings

from progress.memory_store import MemoryStore
from progress.redis_store import RedisStore
from progress.snapshot import FINAL
from progress.store import Write, get_store
from progress.workflow import FAILED, Workflow
from tests.record_operations import operations, resolve

TASKS = ["flow", "a", "b", "c", "sender"]  # the first one begins the workflow of its name
HISTORIES = st.lists(st.tuples(st.sampled_from(TASKS), operations()), max_size=20)
FIXTURES_STAY = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]


class Twins:
    """The same writes to Redis and to the store in memory, whose clock shows the time that Redis answered."""

    def __init__(self, store: RedisStore, history: list[tuple[str, tuple[str, dict[str, Any]]]]) -> None:
        self.now = 0
        self.redis, self.memory = store, MemoryStore(lambda: self.now)
        store.client(1).flushdb()
        fences: list[int] = []
        seqs: list[int] = []
        for key, (op, arguments) in history:
            write = Write(op, key, resolve(arguments, fences, seqs))
            told = store.write(write)
            self.now = told.now
            modelled = self.memory.write(write)
            assert (told.status, told.moved, told.sender_seq) == (
                modelled.status,
                modelled.moved,
                modelled.sender_seq,
            ), write
            seqs.append(told.head.seq)
            fences.append(told.head.fence)

    def workflows(self) -> list[Workflow | None]:
        """The sums that Redis holds; the same as those in memory."""
        names = ["flow", "other", "1", "2"]
        found: list[Workflow | None] = self.redis.load_workflows(names)
        assert found == self.memory.load_workflows(names)
        return found


@settings(max_examples=300, suppress_health_check=FIXTURES_STAY)
@given(history=HISTORIES)
def check(store: RedisStore, met: Counter[str], history: list[tuple[str, tuple[str, dict[str, Any]]]]) -> None:
    twins = Twins(store, history)
    records = store.load_many(TASKS)
    assert records == twins.memory.load_many(TASKS)
    by_key = dict(zip(TASKS, records, strict=True))
    for name, workflow in zip(["flow", "other"], twins.workflows(), strict=False):
        parts = [
            record for key, record in by_key.items() if record and key != name and name in (record.tree, record.group)
        ]
        begins = by_key.get(name)
        if begins is not None and begins.run > 1:
            continue  # its sums began again with the run
        if workflow is None:
            assert not parts
            continue
        # A task that was sent anew into another workflow stays counted where it was, as ended.
        moved_on = workflow.known - len(parts)
        assert workflow.ended == sum(record.state in FINAL for record in parts) + moved_on
        assert workflow.failed >= sum(record.state in FAILED for record in parts)
        assert (workflow.fraction == 1) == (workflow.ended == workflow.known)
        met["workflows"] += 1
        met["ended workflows"] += workflow.fraction == 1
    if (sender := by_key["sender"]) and sender.parts_known:
        children = sender.snapshot()["children"]
        assert 0 <= children["failed"] <= children["ended"] <= children["known"]
        met["senders"] += 1


def test_script_and_model_count_alike_whatever_happens(redis_url: str) -> None:
    """Sums, members, senders and what is to be told: the same in Redis and in memory, and equal to a recount."""
    store = get_store()
    assert isinstance(store, RedisStore)
    met: Counter[str] = Counter()
    check(store, met)
    assert min(met["workflows"], met["ended workflows"], met["senders"]) > 10, met


def test_only_the_first_two_hundred_members_are_remembered_by_name(redis_url: str) -> None:
    """A workflow of any size takes bounded memory, and is counted to the last part all the same."""
    store = get_store()
    assert isinstance(store, RedisStore)
    for number in range(250):
        store.write(Write("queue", f"part-{number}", {"owner": "7", "tree": "flow", "body": ""}))
    (workflow,) = store.load_workflows(["flow"])
    assert workflow is not None
    assert (workflow.known, len(workflow.members), workflow.owner) == (250, 200, "7")
    assert workflow.members[0] == "part-0"


def test_sums_begin_again_with_a_new_run_of_the_same_id(redis_url: str) -> None:
    """Tonight's run of "nightly" shows its own parts, and is not slowed down by all the nights before."""
    store = get_store()
    assert isinstance(store, RedisStore)
    for night in (1, 2):
        store.write(Write("queue", "nightly", {"owner": "7", "body": ""}))
        for part in ("a", "b"):
            key = f"{part}-{night}"
            store.write(Write("queue", key, {"owner": "7", "tree": "nightly", "part_of": "nightly", "body": ""}))
        store.write(Write("verdict", "nightly", {"exec": "", "state": "REVOKED"}))
    (workflow,), (record,) = store.load_workflows(["nightly"]), store.load_many(["nightly"])
    assert workflow is not None
    assert record is not None
    assert (workflow.known, workflow.members) == (2, ("a-2", "b-2"))
    assert record.snapshot()["children"] == {"known": 2, "ended": 0, "failed": 0}


def test_sums_of_a_workflow_live_as_long_as_its_last_record(redis_url: str) -> None:
    """A week while anything is open, a day after the last end."""
    store = get_store()
    assert isinstance(store, RedisStore)
    store.write(Write("queue", "part", {"owner": "7", "tree": "flow", "body": ""}))
    name = f"{store.prefix}:tree:flow"
    assert 6 * 24 * 3600 < store.client(1).ttl(name) <= 7 * 24 * 3600
    store.write(Write("verdict", "part", {"exec": "", "state": "REVOKED"}))
    assert 23 * 3600 < store.client(1).ttl(name) <= 24 * 3600
