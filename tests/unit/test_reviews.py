"""Open connections are reviewed together: one look-up per session, whoever fails, and nothing runs for nobody."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from progress import middleware, reviews
from progress.middleware import viewer_of_session
from progress.permissions import VIEW, Viewer
from progress.reviews import Reviews
from progress.testing import in_memory

ANN, STAFF = Viewer("1"), Viewer("1", frozenset({VIEW}))


@pytest.fixture(autouse=True)
def in_a_hurry(monkeypatch: Any) -> Iterator[None]:
    for name in ("EVERY", "LOOK_UP_AFTER", "AGAIN_AFTER"):
        monkeypatch.setattr(reviews, name, 0.01)
    with in_memory():
        yield


class Member:
    def __init__(self) -> None:
        self.told: list[Viewer] = []

    def reviewed(self, viewer: Viewer) -> None:
        self.told.append(viewer)


class Session:
    """A session whose answers the test chooses; the last one stays."""

    def __init__(self, *answers: Viewer | Exception) -> None:
        self.answers, self.asked = list(answers), 0

    async def look_up(self) -> Viewer:
        self.asked += 1
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 (what is waited for is told to nobody)
            await asyncio.sleep(0.01)


async def test_connections_of_a_session_cost_one_look_up() -> None:
    """Fifty are let in, and reviewed, by as many look-ups as one; all of them are told."""
    session, members, all_of_them = Session(ANN, STAFF), [Member() for _ in range(50)], Reviews()
    for member in members:
        assert await all_of_them.enter("s", session.look_up, member) == ANN
    assert session.asked == 1
    await until(lambda: all(member.told for member in members))
    assert {viewer for member in members for viewer in member.told} <= {ANN, STAFF}
    await until(lambda: all(member.told[-1] == STAFF for member in members))
    assert session.asked <= 1 + max(len(member.told) for member in members) + 1  # one per round
    for member in members:
        all_of_them.leave("s", member)


async def test_look_up_that_fails_changes_nothing_and_is_repeated() -> None:
    """A database that is away shows nobody less, and does not hide a logout for ever."""
    session, member, others = Session(ANN, RuntimeError("away"), TimeoutError(), Viewer()), Member(), Reviews()
    await others.enter("s", session.look_up, member)
    await until(lambda: Viewer() in member.told)
    assert member.told[:2] == [ANN, ANN]
    assert session.asked >= 4
    others.leave("s", member)


async def test_session_that_cannot_be_looked_up_lets_nobody_in() -> None:
    """The connection is told to come back; nothing is left of it here."""
    everybody = Reviews()
    with pytest.raises(TimeoutError):
        await everybody.enter("s", Session(TimeoutError()).look_up, Member())
    assert not everybody._sessions
    assert everybody._task is None


async def test_nothing_runs_when_the_last_connection_has_left() -> None:
    """The task belongs to those who are there; killed, it begins again with the next one."""
    everybody, member = Reviews(), Member()
    await everybody.enter("s", Session(ANN, STAFF).look_up, member)
    task = everybody._task
    assert task is not None
    everybody.leave("s", member)
    await asyncio.wait([task], timeout=5)
    assert task.cancelled()
    again = Session(ANN, STAFF)
    await everybody.enter("s", again.look_up, member)
    killed = everybody._task
    assert killed is not None
    killed.cancel()
    await asyncio.wait([killed], timeout=5)
    other = Member()
    await everybody.enter("s", again.look_up, other)
    await until(lambda: other.told)
    for each in (member, other):
        everybody.leave("s", each)


async def test_who_has_no_session_is_reviewed_too() -> None:
    """Tokens are revoked, and the site's function changes its mind, without any session changing."""
    everybody, member = Reviews(), Member()
    await everybody.enter("", reviews.nobody, member)
    await until(lambda: len(member.told) > 1)
    assert set(member.told) == {Viewer()}
    everybody.leave("", member)


async def test_whoever_comes_later_sees_what_is_new_and_so_do_the_others(monkeypatch: Any) -> None:
    """A page that is loaded again does not wait for the next review to see a right that was given."""
    monkeypatch.setattr(reviews, "LOOK_UP_AFTER", 1000.0)
    monkeypatch.setattr(reviews, "JUST_NOW", -1.0)
    session, early, late, everybody = Session(ANN, STAFF), Member(), Member(), Reviews()
    assert await everybody.enter("s", session.look_up, early) == ANN
    assert await everybody.enter("s", session.look_up, late) == STAFF
    await until(lambda: early.told and late.told)
    assert {*early.told, *late.told} == {STAFF}
    assert session.asked == 2
    for each in (early, late):
        everybody.leave("s", each)


async def test_slow_database_is_not_asked_about_everybody_and_holds_up_nobody(monkeypatch: Any) -> None:
    """Two look-ups that are not answered are enough for one review; then all are told what is known."""
    monkeypatch.setattr(reviews, "AGAIN_AFTER", 1000.0)
    sessions, members = [Session(ANN, TimeoutError()) for _ in range(20)], [Member() for _ in range(20)]
    everybody = Reviews()
    for number, member in enumerate(members):
        await everybody.enter(f"s{number}", sessions[number].look_up, member)
    await until(lambda: all(len(member.told) > 3 for member in members))
    assert 20 < sum(session.asked for session in sessions) <= 20 + reviews.AT_ONCE
    assert {viewer for member in members for viewer in member.told} == {ANN}
    for number, member in enumerate(members):
        everybody.leave(f"s{number}", member)


async def _queries_of(sockets: int, session: str, monkeypatch: Any) -> list[int]:
    """How many queries each look-up cost while so many sockets of the session came and were reviewed twice."""
    costs: list[int] = []
    original = middleware._look_up

    def counted(key: str) -> Viewer:
        with CaptureQueriesContext(connection) as queries:
            viewer = original(key)
        costs.append(len(queries))
        return viewer

    monkeypatch.setattr(middleware, "_look_up", counted)
    members, everybody = [Member() for _ in range(sockets)], Reviews()
    for member in members:
        await everybody.enter(session, partial(viewer_of_session, session), member)
    everybody._sessions[session].due = 0.0  # half a minute later
    await until(lambda: len(costs) == 2 and all(len(member.told) > 2 for member in members))
    for member in members:
        everybody.leave(session, member)
    monkeypatch.setattr(middleware, "_look_up", original)
    return costs


@pytest.mark.django_db(transaction=True)
async def test_fifty_sockets_of_a_session_cost_as_many_queries_as_one(monkeypatch: Any) -> None:
    """Two queries (session, user) when they come and two per review, whatever their number."""
    monkeypatch.setattr(reviews, "LOOK_UP_AFTER", 1000.0)
    monkeypatch.setattr(middleware, "CACHE_SECONDS", 0.0)
    costs = []
    for name, sockets in (("ann", 1), ("bob", 50)):
        user, browser = await asyncio.to_thread(get_user_model().objects.create_user, name), Client()
        await asyncio.to_thread(browser.force_login, user)
        costs.append(await _queries_of(sockets, browser.cookies["sessionid"].value, monkeypatch))
    assert costs == [[2, 2], [2, 2]]
