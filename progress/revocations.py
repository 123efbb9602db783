"""Watch tokens that no longer count: everything issued until a moment, for a task, for a user, or one token.

They are a small sorted set in Redis, which every process keeps in memory, so that using a token asks nobody. A
revocation is known everywhere within 20 s. Redis forgets one when no token of its time can be valid any more; a Redis
that was emptied forgets them all, but for what processes remember.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final

from .per_loop import PerLoop
from .store import Store, get_store
from .together import Together

LOOK_EVERY: Final = 20.0  # seconds
OVERLAP: Final = 3600.0  # seconds; clocks of those who revoke differ
MAX_LIFETIME: Final = 365 * 24 * 3600.0  # seconds; no token lives longer


class Revocations:
    """What this process knows of one store's revocations."""

    def __init__(self, store: Store) -> None:
        self._store = weakref.ref(store)
        self._known: dict[str, float] = {}  # what it is about → seconds since 1970
        self.learnt = 0  # how often something new was learnt: until then, what is not void stays so
        self._looked: float | None = None
        self._look_together = PerLoop(lambda: Together(self._look_for_all))

    def voids(self, names: Iterable[str], issued: float) -> bool:
        """True if a token issued then, which is about `names`, has been revoked as far as is known here."""
        return any(self._known.get(name, -1.0) >= issued for name in names)

    def look(self) -> None:
        """Learn what is new, if that was not done for 20 s. Raises `StoreUnavailable`."""
        store = self._store()
        if store is not None and self._is_due():
            with self._looking():
                self._learn(store.revoked(self._since()))

    async def alook(self) -> None:
        """Like `look`."""
        if self._is_due():
            await self._look_together()()

    async def _look_for_all(self, _names: list[str]) -> None:
        store = self._store()
        if store is not None and self._is_due():  # those who asked before may have looked
            with self._looking():
                self._learn(await store.arevoked(self._since()))

    @contextmanager
    def _looking(self) -> Iterator[None]:
        before, begun = self._looked, time.monotonic()
        if before is not None:
            self._looked = begun  # others need not look meanwhile; they know what was known 20 s ago
        try:
            yield
        except BaseException:
            self._looked = before
            raise
        self._looked = begun

    def add(self, name: str) -> None:
        """Revoke, from now on and for everything issued until now. Raises `StoreUnavailable`."""
        store, now = self._store(), time.time()
        if store is not None:
            store.revoke(name, now, now - MAX_LIFETIME)
            self._learn({name: now})

    def _is_due(self) -> bool:
        return self._looked is None or time.monotonic() - self._looked >= LOOK_EVERY

    def _since(self) -> float:
        return max(self._known.values(), default=OVERLAP) - OVERLAP

    def _learn(self, told: dict[str, float]) -> None:
        if news := {name: at for name, at in told.items() if at > self._known.get(name, -1.0)}:
            self._known |= news
            self.learnt += 1


_of_stores: weakref.WeakKeyDictionary[Store, Revocations] = weakref.WeakKeyDictionary()


def revocations() -> Revocations:
    """Those of the store that the settings name."""
    store = get_store()
    try:
        return _of_stores[store]
    except KeyError:
        return _of_stores.setdefault(store, Revocations(store))  # another thread may be first
