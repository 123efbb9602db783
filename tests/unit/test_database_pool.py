"""Threads that ask the database: a crowd shares their connections, and nobody finds what another has left behind."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from django.db import ConnectionHandler
from django.db.backends.signals import connection_created

from progress import database_pool
from progress.database_pool import DatabasePool
from tests.wire import until

pytestmark = pytest.mark.django_db


class Database:
    """A database of its own, whose connections are counted."""

    def __init__(self, file: Path, max_age: float | None) -> None:
        options = {"ENGINE": "django.db.backends.sqlite3", "NAME": file, "CONN_MAX_AGE": max_age}
        self.handler = ConnectionHandler({"default": options})
        self.made: list[Any] = []

    def count(self, connection: Any, **_kwargs: Any) -> None:
        if connection.settings_dict["NAME"] == self.handler.databases["default"]["NAME"]:
            self.made.append(connection)

    def ask(self) -> Any:
        """A query in the thread that calls this; the answer is what it was asked by."""
        with self.handler["default"].cursor() as cursor:
            cursor.execute("SELECT 1")
        return self.handler["default"].connection

    def opened(self) -> int:
        return sum(connection.connection is not None for connection in self.made)


@pytest.fixture
def database(tmp_path: Path, monkeypatch: Any, request: Any) -> Iterator[Database]:
    own = Database(tmp_path / "db", getattr(request, "param", 0))
    monkeypatch.setattr(database_pool, "connections", own.handler)
    connection_created.connect(own.count)
    yield own
    connection_created.disconnect(own.count)


def in_one_go(pool: DatabasePool, *calls: Callable[[], Any]) -> list[Any]:
    """What these answer that wait for the threads of the pool together; an error is an answer."""
    let_go = threading.Event()
    held = [pool.submit(let_go.wait, 10) for _ in range(2)]  # every thread of the pool
    turns = [pool.submit(call) for call in calls]
    let_go.set()
    return [turn.exception(10) or turn.result() for turn in [*held, *turns]][len(held) :]


async def test_crowd_shares_a_connection_per_thread_and_leaves_none_open(database: Database) -> None:
    """A hundred calls at once; nothing is left when nobody waits any more."""
    in_one_go(DatabasePool(2, "crowd"), *[database.ask] * 100)
    assert len(database.made) <= 2
    await until(lambda: database.opened() == 0)


async def test_calls_that_come_singly_have_a_connection_each(database: Database) -> None:
    """As Django's requests by default."""
    pool = DatabasePool(1, "single")
    for number in range(1, 4):
        pool.submit(database.ask).result(10)
        await until(lambda: database.opened() == 0)
        assert len(database.made) == number


@pytest.mark.parametrize("database", [None, 600], indirect=True)
def test_site_that_keeps_its_connections_keeps_these(database: Database) -> None:
    """`CONN_MAX_AGE` counts: one connection for calls that come singly, and another when it is too old."""
    pool = DatabasePool(1, "keeping")
    assert pool.submit(database.ask).result(10) is pool.submit(database.ask).result(10)
    assert pool.submit(database.opened).result(10) == 1
    before = database.made[0].connection
    grow_old = partial(setattr, database.made[0], "close_at", 0.0)
    assert in_one_go(pool, grow_old, database.ask)[1] is not before
    pool.submit(database.handler.close_all).result(10)


def test_connection_that_broke_is_not_passed_on(database: Database) -> None:
    """Whoever is next does not pay for a database that was restarted."""

    def fails() -> None:
        database.ask()
        database.handler["default"].connection.close()
        database.ask()

    failed, answered = in_one_go(DatabasePool(1, "broken"), fails, database.ask)
    assert isinstance(failed, Exception)
    assert not isinstance(answered, Exception)
    assert len(database.made) == 2


def test_transaction_that_was_left_open_is_not_passed_on(database: Database) -> None:
    """A site's function may forget one; with a connection per call that did no harm."""

    def forgets() -> None:
        database.ask()
        database.handler["default"].set_autocommit(False)

    _, autocommit = in_one_go(
        DatabasePool(1, "forgetful"), forgets, lambda: database.handler["default"].get_autocommit()
    )
    assert autocommit is True


async def test_connection_that_cannot_be_closed_takes_no_thread_away(database: Database, caplog: Any) -> None:
    """It is logged, and whoever comes next is answered."""
    pool = DatabasePool(1, "stubborn")

    def cannot_be_closed() -> None:
        database.ask()
        database.handler["default"].close_if_unusable_or_obsolete = fail  # type: ignore[method-assign]

    def fail() -> None:
        raise OSError("no")

    pool.submit(cannot_be_closed).result(10)
    await until(lambda: "could not put away" in caplog.text)
    assert pool.submit(lambda: 7).result(10) == 7
    pool.submit(database.handler["default"].__class__.close, database.made[0]).result(10)
