"""Open connections are reviewed together: one look-up per session, whoever fails, and nothing runs for nobody."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from progress import reviews
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
    session, members, all_of_them = Session(ANN, ANN, STAFF), [Member() for _ in range(50)], Reviews()
    for member in members:
        assert await all_of_them.enter("s", session.look_up, member) == ANN
    assert session.asked == 1
    await until(lambda: all(member.told == [STAFF] for member in members))
    assert session.asked <= 5  # one per round since
    for member in members:
        all_of_them.leave("s", member)


async def test_look_up_that_fails_changes_nothing_and_is_repeated() -> None:
    """A database that is away shows nobody less, and does not hide a logout for ever."""
    session, member, others = Session(ANN, RuntimeError("away"), TimeoutError(), Viewer()), Member(), Reviews()
    await others.enter("s", session.look_up, member)
    await until(lambda: member.told)
    assert member.told[0] == Viewer()
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


async def test_everybody_is_told_when_the_site_has_a_function_of_its_own(settings: Any) -> None:
    """Its answer may change without any session changing, also for those who have none."""
    settings.PROGRESS_AUTHORIZE = lambda user, action, run: False
    everybody, member = Reviews(), Member()
    await everybody.enter("", reviews.nobody, member)
    await until(lambda: len(member.told) > 1)
    assert set(member.told) == {Viewer()}
    everybody.leave("", member)
