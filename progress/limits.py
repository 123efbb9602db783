"""How many connections one user, or one address, may have in this process, and how often a user may open one.

Counted in memory, one event loop's. Nothing is kept of who has no connection, but when users opened their last ones.
"""

from __future__ import annotations

import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any, Final

from .conf import conf

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

MINUTE: Final = 60.0  # seconds
REMEMBERED: Final = 10_000  # users whose last joins are known; of more, those that joined longest ago are forgotten
ONE_SITE: Final = 64  # bits of an IPv6 address that one customer of a provider has; the rest they choose as they like


class Place:
    """The share of a limit that one connection has, until it gives it back."""

    def __init__(self, release: Callable[[], None]) -> None:
        self._release: Callable[[], None] | None = release

    def give_back(self) -> None:
        """Count no longer. A second time changes nothing."""
        release, self._release = self._release, None
        if release is not None:
            release()


class Limits:
    """What one process lets in. A limit of 0 is none."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._open: Counter[str] = Counter()
        self._joins: OrderedDict[str, deque[float]] = OrderedDict()

    @property
    def open(self) -> int:
        """Connections that count at the moment."""
        return self._open.total()

    def place_for_user(self, user: str) -> Place | None:
        """A place for one more connection of this user; None if they have too many, or open them too often.

        What is refused counts for nothing: pages that come back do not shut out others of the same user.
        """
        name = f"user {user}"
        if _is_full(self._open[name], conf.PROGRESS_MAX_CONNECTIONS) or not self._may_join(user):
            return None
        return self._place(name)

    def place_for_address(self, address: str) -> Place | None:
        """A place for one more connection that nobody vouches for; None if its address has too many."""
        name = f"address {address}"
        if _is_full(self._open[name], conf.PROGRESS_MAX_CONNECTIONS_PER_ADDRESS):
            return None
        return self._place(name)

    def _place(self, name: str) -> Place:
        self._open[name] += 1
        return Place(lambda: self._give_back(name))

    def _give_back(self, name: str) -> None:
        self._open[name] -= 1
        if not self._open[name]:
            del self._open[name]

    def _may_join(self, user: str) -> bool:
        limit, now = conf.PROGRESS_MAX_JOINS, self._clock()
        if not limit:
            return True
        joins = self._joins.setdefault(user, deque())
        while joins and now - joins[0] >= MINUTE:
            joins.popleft()
        if len(joins) >= limit:
            return False
        joins.append(now)
        self._joins.move_to_end(user)
        # Whoever joined longest ago comes first, so those of whom nothing counts any more are found at once.
        while len(self._joins) > REMEMBERED or now - next(iter(self._joins.values()))[-1] >= MINUTE:
            self._joins.popitem(last=False)
        return True


def _is_full(count: int, limit: int) -> bool:
    return bool(limit) and count >= limit


limits = Limits()


def place_for(user: str, scope: dict[str, Any]) -> Place | None:
    """A place for one more connection; None if there are too many. Who has no session is known by their address."""
    if user:
        return limits.place_for_user(user)
    address = address_of(scope)
    return Place(lambda: None) if address is None else limits.place_for_address(address)


def address_of(scope: dict[str, Any]) -> str | None:
    """Whose address a connection comes from, as far as trusted proxies tell; None without `PROGRESS_TRUSTED_PROXIES`.

    Only what trusted proxies have added to ``X-Forwarded-For`` counts: from the right, the first address that is none
    of theirs. An IPv6 address stands for the network that a customer has.
    """
    trusted = conf.PROGRESS_TRUSTED_PROXIES
    if not trusted:
        return None
    found = _address(str((scope.get("client") or [""])[0]))
    said = ",".join(value.decode("latin1") for name, value in scope["headers"] if name.lower() == b"x-forwarded-for")
    for text in reversed(said.split(",") if said else []):
        # No address: a socket of this machine's own file system, which only a proxy can have opened.
        if found is not None and not _is_in(found, trusted):
            break
        following = _address(text.strip())
        if following is None:  # a proxy that does not know, either
            break
        found = following
    return _site(found)


def _site(address: Address | None) -> str:
    if isinstance(address, IPv6Address):
        return str(IPv6Network((address, ONE_SITE), strict=False))
    return str(address or "")


def _address(text: str) -> Address | None:
    """The address in `text`, with or without a port."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _is_in(address: Address, networks: Iterable[Network]) -> bool:
    return any(address.version == network.version and address in network for network in networks)
