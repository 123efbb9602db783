"""`record.lua` and `rules.apply` are the same rules: any history ends in the same record, write for write."""

from __future__ import annotations

from collections import Counter
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given, settings

from progress.record import Record, Status
from progress.redis_changes import RedisChanges
from progress.redis_store import RedisStore
from progress.rules import apply, is_told
from progress.store import Write, get_store
from tests.record_operations import operations, resolve

FIXTURES_STAY = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]


@settings(max_examples=400, suppress_health_check=FIXTURES_STAY)
@given(history=st.lists(operations(), max_size=15))
def check(
    store: RedisStore,
    changes: RedisChanges,
    seen: Counter[tuple[str, Status]],
    history: list[tuple[str, dict[str, Any]]],
) -> None:
    """Write `history` to Redis and to the model, at the times that Redis answered."""
    key = f"task-{seen.total()}"
    record: Record | None = None
    fences: list[int] = []
    seqs: list[int] = []
    told: list[Record] = []
    for op, arguments in history:
        args = resolve(arguments, fences, seqs)
        answer = store.write(Write(op, key, args))
        before = record
        status, record = apply(record, op, args, answer.now)
        if status is Status.ACCEPTED and record is not None and is_told(op, before, record):
            told.append(record)
        seen[op, status] += 1
        assert answer.status == status, (op, args)
        assert store.load(key) == record, (op, args, status)
        if record:
            names = ("seq", "fence", "n", "state", "control", "watched_until", "leased_until")
            head = {name: getattr(record, name) for name in names}
            assert {name: getattr(answer.head, name) for name in head} == head
            seqs.append(record.seq)
            fences.append(record.fence)
    seen["history", Status.SAME] += 1
    heard = changes.read(100, 0)
    changes.done(heard)
    assert [change.record for change in heard] == told
    assert {change.key for change in heard} <= {key}


def test_script_and_model_agree_on_every_write_of_any_history(redis_url: str) -> None:
    """Same status, same record, same head: what the tests of the model prove holds in Redis."""
    store = get_store()
    assert isinstance(store, RedisStore)
    seen: Counter[tuple[str, Status]] = Counter()
    changes = store.open_changes()
    check(store, changes, seen)
    changes.close()
    met = {status for _, status in seen}
    # A key that holds something else is the store's finding, not the script's.
    expected = set(Status) - {Status.DAMAGED}
    assert met == expected, f"These answers were never met: {expected - met}"


def test_script_keeps_every_digit_of_a_sequence_number(redis_url: str) -> None:
    """16 digits and more survive the way through Lua's doubles: watchers compare them one by one."""
    store = get_store()
    seen = 2**52 + 1  # the year 2112; in this form a seq is exact until 2255
    answer = store.write(Write("queue", "t", {"owner": "1", "body": "", "seen": seen}))
    assert answer.head.seq == seen + 1
    answer = store.write(Write("cancel", "t", {"by": "7"}))
    assert answer.head.seq == seen + 2
    record = store.load("t")
    assert record is not None
    assert record.seq == seen + 2


@pytest.mark.parametrize(
    ("owner", "watched", "lifetime"), [("", False, 600), ("7", False, 24 * 3600), ("", True, 24 * 3600)]
)
def test_ended_record_that_nobody_owned_or_watched_is_soon_forgotten(
    redis_url: str, owner: str, watched: bool, lifetime: int
) -> None:
    """Ten minutes, or `PROGRESS_RETENTION` for what somebody may come back to."""
    store = get_store()
    assert isinstance(store, RedisStore)
    store.write(Write("queue", "t", {"owner": owner, "body": '"id":"t"'}))
    if watched:
        store.write(Write("watch", "t", {"span": 1}))
    name = f"{store.prefix}:task:t"
    assert 6 * 24 * 3600 < store.client(1).ttl(name) <= 7 * 24 * 3600
    store.write(Write("verdict", "t", {"exec": "", "state": "FAILURE"}))
    assert lifetime - 5 < store.client(1).ttl(name) <= lifetime


def test_script_is_loaded_again_when_redis_has_forgotten_it(redis_url: str) -> None:
    """A Redis that restarted knows no script; the next write brings it back, in both ways to write."""
    store = get_store()
    assert isinstance(store, RedisStore)
    for write in (Write("queue", "t", {"body": ""}), Write("cancel", "t", {"by": "7"})):
        store.client(1).script_flush()
        assert store.write(write).accepted
