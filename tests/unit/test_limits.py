"""How many connections one user or address may have, and that every place is given back."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from progress import limits
from progress.conf import conf
from progress.consumers import TOO_MANY
from progress.limits import Limits, address_of
from progress.memory_store import MemoryStore
from progress.origins import Origin
from progress.permissions import Viewer
from progress.tokens import watch_token
from tests.unit.test_consumers import Line, acted, as_user
from tests.wire import until


@pytest.fixture(autouse=True)
def fresh(progress_store: MemoryStore, settings: Any, monkeypatch: Any) -> Iterator[Limits]:
    """Counts of this test's own, by a clock that it sets, and the limits of a site that set none."""
    for name in ("PROGRESS_MAX_CONNECTIONS", "PROGRESS_MAX_JOINS"):
        delattr(settings, name)
    mine = Limits()
    monkeypatch.setattr(limits, "limits", mine)
    yield mine
    assert mine.open == 0, "Every test of this file must end all its connections."


class Clock:
    """A clock that stands still unless it is told otherwise."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def from_address(peer: str | None, *forwarded: str) -> dict[str, Any]:
    headers = [(b"x-forwarded-for", each.encode()) for each in forwarded]
    return {"client": [peer, 4711] if peer is not None else None, "headers": headers}


# --- Counting ----------------------------------------------------------------------------------------------


def test_a_user_has_twenty_places_and_another_user_has_their_own() -> None:
    """The twenty-first is refused until one is given back, once."""
    found = Limits()
    places = [found.place_for_user("1") for _ in range(conf.PROGRESS_MAX_CONNECTIONS)]
    assert len(places) == 20
    assert None not in places
    assert found.place_for_user("1") is None
    assert found.place_for_user("2") is not None
    for _ in range(2):  # the second time changes nothing
        places[0].give_back()  # type: ignore[union-attr]
    assert found.place_for_user("1") is not None
    assert found.place_for_user("1") is None


def test_a_user_may_join_sixty_times_in_any_minute() -> None:
    """Not sixty at the end of one minute and sixty at the beginning of the next."""
    clock = Clock()
    found = Limits(clock)

    def join() -> bool:
        place = found.place_for_user("1")
        if place:
            place.give_back()
        return place is not None

    clock.now += 50
    assert [join() for _ in range(61)] == [True] * 60 + [False]
    clock.now += 59
    assert not join()
    clock.now += 1
    assert [join() for _ in range(61)] == [True] * 60 + [False]


def test_what_is_refused_counts_for_nothing(settings: Any) -> None:
    """Tabs that come back in vain do not shut out the one that may come."""
    settings.PROGRESS_MAX_CONNECTIONS, settings.PROGRESS_MAX_JOINS = 1, 2
    found = Limits(Clock())
    first = found.place_for_user("1")
    assert first
    assert [found.place_for_user("1") for _ in range(100)] == [None] * 100
    first.give_back()
    assert found.place_for_user("1")


@pytest.mark.parametrize("kind", ["user", "address"])
def test_nought_is_no_limit(settings: Any, kind: str) -> None:
    """Each limit can be switched off."""
    settings.PROGRESS_MAX_CONNECTIONS = settings.PROGRESS_MAX_JOINS = 0
    settings.PROGRESS_MAX_CONNECTIONS_PER_ADDRESS = 0
    found = Limits()
    take = found.place_for_user if kind == "user" else found.place_for_address
    assert None not in [take("x") for _ in range(1000)]


def test_nought_watches_are_no_limit(settings: Any) -> None:
    """As for the others."""
    settings.PROGRESS_MAX_WATCHES = 0
    assert conf.PROGRESS_MAX_WATCHES > 10**9


def test_who_has_left_is_forgotten(monkeypatch: Any) -> None:
    """What is kept of users without a connection is over after a minute, and bounded before."""
    monkeypatch.setattr(limits, "REMEMBERED", 100)
    clock = Clock()
    found = Limits(clock)
    for number in range(1000):
        place = found.place_for_user(str(number))
        assert place
        place.give_back()
    assert (found.open, len(found._open), len(found._joins)) == (0, 0, 100)
    clock.now += limits.MINUTE
    assert found.place_for_user("last")
    assert list(found._joins) == ["last"]


# --- Whose address it is -----------------------------------------------------------------------------------

TRUSTED = ["127.0.0.1", "10.0.0.0/8", "fd00::/8"]
# name: (peer, values of X-Forwarded-For, the address that counts)
ADDRESSES: dict[str, tuple[str | None, list[str], str]] = {
    "no proxy": ("203.0.113.9", [], "203.0.113.9"),
    "no proxy, and it invents one": ("203.0.113.9", ["198.51.100.1"], "203.0.113.9"),
    "one proxy": ("127.0.0.1", ["203.0.113.9"], "203.0.113.9"),
    "two proxies": ("127.0.0.1", ["203.0.113.9, 10.1.2.3"], "203.0.113.9"),
    "two headers": ("127.0.0.1", ["203.0.113.9", "10.1.2.3"], "203.0.113.9"),
    "an invented beginning": ("127.0.0.1", ["1.1.1.1, 127.0.0.1, 203.0.113.9, 10.1.2.3"], "203.0.113.9"),
    "a proxy of somebody else's": ("127.0.0.1", ["198.51.100.1, 203.0.113.9"], "203.0.113.9"),
    "a proxy that says nothing": ("10.1.2.3", [], "10.1.2.3"),
    "a proxy that says nonsense": ("10.1.2.3", ["203.0.113.9, unknown"], "10.1.2.3"),
    "an empty header": ("10.1.2.3", [""], "10.1.2.3"),
    "all of them trusted": ("127.0.0.1", ["10.1.1.1, 10.2.2.2"], "10.1.1.1"),
    "with a port": ("127.0.0.1", ["203.0.113.9:4711"], "203.0.113.9"),
    "IPv6": ("fd00::1", ["2001:db8:1:2:3:4:5:6"], "2001:db8:1:2::/64"),
    "IPv6 with a port": ("fd00::1", ["[2001:db8:1:2:3:4:5:6]:4711"], "2001:db8:1:2::/64"),
    "another address of that customer": ("fd00::1", ["2001:db8:1:2::ffff"], "2001:db8:1:2::/64"),
    "IPv4 in IPv6": ("::ffff:127.0.0.1", ["::ffff:203.0.113.9"], "203.0.113.9"),
    "a socket in the file system": (None, ["203.0.113.9"], "203.0.113.9"),
    "a socket in the file system that says nothing": (None, [], ""),
}


@pytest.mark.parametrize(("peer", "forwarded", "expected"), ADDRESSES.values(), ids=ADDRESSES)
def test_only_trusted_proxies_are_believed(settings: Any, peer: Any, forwarded: list[str], expected: str) -> None:
    """From the right, the first address that is no trusted proxy's."""
    settings.PROGRESS_TRUSTED_PROXIES = TRUSTED
    assert address_of(from_address(peer, *forwarded)) == expected


def test_without_trusted_proxies_addresses_do_not_count() -> None:
    """All may seem to come from one proxy."""
    assert address_of(from_address("203.0.113.9", "198.51.100.1")) is None


# --- Connections -------------------------------------------------------------------------------------------


async def opened(line: Line) -> Line:
    """Wait until the line is known to be in: it answers."""
    line.say("ping")
    await until(lambda: line.all("heartbeat") or line.closed is not None)
    return line


async def test_one_too_many_is_refused_after_accept(settings: Any, fresh: Limits) -> None:
    """A browser learns the code 4429; when another leaves there is room again."""
    settings.PROGRESS_MAX_CONNECTIONS = 2
    first, second = [await opened(Line(as_user("1"))) for _ in range(2)]
    third = await opened(Line(as_user("1")))
    assert (third.accepted, third.closed) == (True, TOO_MANY)
    assert fresh.open == 2
    await first.leave()
    fourth = await opened(Line(as_user("1")))
    assert fourth.closed is None
    for line in (second, third, fourth):
        await line.leave()


async def test_too_many_joins_are_refused_after_accept(settings: Any) -> None:
    """Also when each leaves before the next comes."""
    settings.PROGRESS_MAX_JOINS = 3
    codes = []
    for _ in range(4):
        line = await opened(Line(as_user("1")))
        codes.append(line.closed)
        await line.leave()
    assert codes == [None, None, None, TOO_MANY]


def outsider(*forwarded: str, **options: Any) -> Line:
    return Line(origin=Origin.NONE, scope=from_address("127.0.0.1", *forwarded), **options)


async def test_strangers_are_counted_by_address(settings: Any, fresh: Limits) -> None:
    """Those without session and token, behind a trusted proxy: each address for itself."""
    settings.PROGRESS_TRUSTED_PROXIES, settings.PROGRESS_MAX_CONNECTIONS_PER_ADDRESS = ["127.0.0.1"], 1
    lines = [await opened(outsider(address)) for address in ("203.0.113.9", "203.0.113.9", "203.0.113.8")]
    assert [line.closed for line in lines] == [None, TOO_MANY, None]
    for line in lines:
        await line.leave()


async def test_a_valid_token_frees_the_place_of_its_address(settings: Any, fresh: Limits) -> None:
    """A whole office behind one address may watch with tokens. An invalid one frees nothing."""
    settings.PROGRESS_TRUSTED_PROXIES, settings.PROGRESS_MAX_CONNECTIONS_PER_ADDRESS = ["127.0.0.1"], 1
    task = acted()
    first = outsider("203.0.113.9")
    first.say("token", token="forged")
    await until(lambda: first.all("refused"))
    assert fresh.open == 1
    first.say("watch", ids=[task.id], token=watch_token(task.id))
    await until(lambda: first.all("watching"))
    await until(lambda: fresh.open == 0)
    second = await opened(outsider("203.0.113.9"))
    assert second.closed is None
    for line in (first, second):
        await line.leave()


async def test_a_user_is_not_counted_by_address(settings: Any, fresh: Limits) -> None:
    """Whoever has a session has the limit of a user."""
    settings.PROGRESS_TRUSTED_PROXIES, settings.PROGRESS_MAX_CONNECTIONS_PER_ADDRESS = ["127.0.0.1"], 1
    lines = [await opened(Line(as_user("1"), scope=from_address("127.0.0.1", "203.0.113.9"))) for _ in range(3)]
    assert [line.closed for line in lines] == [None] * 3
    for line in lines:
        await line.leave()


async def _raise() -> Viewer:
    raise RuntimeError("no database")


@pytest.mark.parametrize(
    "how", ["leaves", "is cancelled", "speaks nonsense", "is broken", "while its user is sought"]
)
async def test_a_place_is_given_back_however_a_connection_ends(fresh: Limits, how: str) -> None:
    """A client that leaves or is cut, a server that fails or stops: the count is what it was."""
    sought = asyncio.Event()

    async def slow() -> Viewer:
        await sought.wait()
        return Viewer("1")

    line = Line(slow if how.startswith("while") else as_user("1"))
    if how.startswith("while"):
        await until(lambda: line.accepted)
        line.incoming.put_nowait({"type": "websocket.disconnect", "code": 1006})
        sought.set()
        await asyncio.wait_for(line.app, 5)
        return
    await opened(line)
    assert fresh.open == 1
    if how == "is cancelled":
        line.app.cancel()
        await asyncio.wait([line.app])
    elif how == "speaks nonsense":
        line.incoming.put_nowait({"type": "websocket.receive", "text": "{"})
        await until(lambda: line.closed is not None)
        await line.leave()
    else:
        line.broken = how == "is broken"
        line.say("ping")
        await line.leave()


async def test_a_connection_that_could_not_be_opened_counts_for_nothing(fresh: Limits) -> None:
    """It is told to come back later, and has no place meanwhile."""
    line = Line(_raise)
    await until(lambda: line.closed is not None)
    assert fresh.open == 0
    await line.leave()
