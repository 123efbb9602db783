"""Revoked tokens: void everywhere, at once where it is known, without asking anybody at every use."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from django.core import signing
from django.test import Client

from progress import InvalidToken, ProgressError, revocations, revoke_token, revoke_tokens, watch_token
from progress.access import Access
from progress.exceptions import StoreUnavailable
from progress.revocations import MAX_LIFETIME, Revocations
from progress.snapshot import key
from progress.store import get_store
from progress.testing import MemoryStore, in_memory
from progress.tokens import SALT, read_token
from tests.acted import ActedTask
from tests.wire import until


class Counting(MemoryStore):
    reads = 0
    error: Exception | None = None
    held: asyncio.Event | None = None

    def revoked(self, since: float) -> dict[str, float]:
        self.reads += 1
        return super().revoked(since)

    async def arevoked(self, since: float) -> dict[str, float]:
        found = self.revoked(since)
        await (self.held.wait() if self.held else asyncio.sleep(0))
        if self.error is not None:
            raise self.error
        return found


@pytest.fixture(autouse=True)
def store() -> Iterator[Counting]:
    own = Counting()
    with in_memory(own):
        yield own


def is_valid(token: str) -> bool:
    try:
        read_token(token)
    except InvalidToken:
        return False
    return True


def test_token_that_is_revoked_is_void_and_others_are_not() -> None:
    """This very one; another for the same task stays."""
    one, other = watch_token("t"), watch_token("t", expires=1800)
    revoke_token(one)
    assert (is_valid(one), is_valid(other)) == (False, True)
    revoke_token(one)
    revoke_token("forged")


def test_tokens_of_a_task_are_void_and_later_ones_are_not() -> None:
    """Also those of an id that is no safe name."""
    before, others = watch_token("a/b c"), watch_token("t")
    revoke_tokens("a/b c")
    assert (is_valid(before), is_valid(others)) == (False, True)
    assert is_valid(watch_token("a/b c"))


def test_tokens_of_a_user_are_void() -> None:
    """Whoever leaves takes no token along."""
    ann, bob = SimpleNamespace(pk=1, is_anonymous=False), SimpleNamespace(pk=2, is_anonymous=False)
    tokens = [watch_token("t", user=ann), watch_token("u", user=ann), watch_token("t", user=bob), watch_token("t")]
    revoke_tokens(user=ann)
    assert [is_valid(token) for token in tokens] == [False, False, True, True]


@pytest.mark.parametrize("named", [{}, {"task_id": "t", "user": 1}, {"user": None}])
def test_exactly_one_thing_is_named(named: dict[str, Any]) -> None:
    """Nobody voids everything by a variable that was empty."""
    with pytest.raises(ProgressError, match="exactly one"):
        revoke_tokens(**named)


def test_token_of_the_release_before_is_read_and_can_be_revoked() -> None:
    """It does not say when it was issued."""
    import time

    old = signing.dumps([key("t"), ["watch"], "", round(time.time() + 60, 3)], salt=SALT, compress=False)
    assert is_valid(old)
    revoke_tokens("t")
    assert not is_valid(old)


def test_no_token_outlives_what_is_known_of_revocations() -> None:
    """A year at most."""
    watch_token("t", expires=MAX_LIFETIME)
    with pytest.raises(ProgressError, match="up to a year"):
        watch_token("t", expires=MAX_LIFETIME + 1)


def test_other_process_learns_of_it_and_a_token_costs_no_reading(store: Counting, monkeypatch: Any) -> None:
    """The set is read once in 20 s, however many tokens are shown."""
    task = ActedTask("t", owner="1").queue()
    token = watch_token(task.id)
    client = Client(headers={"authorization": f"Bearer {token}"})
    assert [client.get("/progress/t/").status_code for _ in range(10)] == [200] * 10
    assert store.reads == 1
    elsewhere = Revocations(get_store())
    elsewhere.add("task:t")
    assert client.get("/progress/t/").status_code == 200
    monkeypatch.setattr(revocations, "LOOK_EVERY", 0.0)
    assert client.get("/progress/t/").status_code == 404


async def test_crowd_at_a_new_process_costs_one_reading(store: Counting) -> None:
    """Nobody knows yet what is revoked, so all wait for it; also those who come while it is read."""
    known, store.held = Revocations(store), asyncio.Event()
    first = [asyncio.create_task(known.alook()) for _ in range(50)]
    await until(lambda: store.reads)
    others = [asyncio.create_task(known.alook()) for _ in range(50)]
    await asyncio.sleep(0)
    store.held.set()
    await asyncio.gather(*first, *others)
    assert store.reads == 1


async def test_nobody_in_a_crowd_is_let_in_while_nobody_knows_what_is_revoked(store: Counting) -> None:
    """They get the same error, for one reading; the next one asks again."""
    known, store.error = Revocations(store), StoreUnavailable("away")
    told = await asyncio.gather(*(known.alook() for _ in range(50)), return_exceptions=True)
    assert (set(map(id, told)), store.reads) == ({id(store.error)}, 1)
    store.error = None
    await known.alook()
    assert store.reads == 2


async def test_connection_is_due_until_it_has_dropped_what_is_void() -> None:
    """However often it is asked meanwhile: the look that was due may have failed. Later ones are noticed, too."""
    access = Access()
    for task in ("a", "b"):
        await access.add_token(watch_token(task))
    assert not access.is_due()
    for task in ("c", "a"):
        revoke_tokens(task)
        assert [access.is_due(), access.is_due()] == [task == "a"] * 2
    access.drop_tokens()
    assert not access.is_due()
    revoke_tokens("b")
    assert access.is_due()


def test_loops_look_each_for_itself(store: Counting) -> None:
    """A site's async pages may have a loop each, and a loop that ended answers nobody."""
    known = Revocations(store)
    asyncio.run(known.alook())
    known._looked = None
    asyncio.run(known.alook())
    assert store.reads == 2
