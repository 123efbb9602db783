"""The tasks of one user that a client follows: those that run, and those that come."""

from __future__ import annotations

from collections.abc import Iterable

from .hub import Hub
from .watched import Watcher


class OwnTasks:
    """Whose tasks are followed by one client, and which of them it has asked to hear no more of."""

    def __init__(self, hub: Hub, line: Watcher) -> None:
        self._hub, self._line = hub, line
        self._owner: str | None = None
        self._unwanted: set[str] = set()

    def begin(self, owner: str) -> None:
        """From now on those of `owner` are wanted."""
        self._owner = owner
        self._unwanted.clear()

    async def follow(self, owner: str) -> None:
        """Be told of them, unless somebody else's are wanted by now, or nobody's."""
        if self._owner == owner:
            await self._hub.follow(owner, self._line)

    async def leave(self) -> None:
        """Follow nobody's any more."""
        owner, self._owner = self._owner, None
        if owner is not None:
            await self._hub.unfollow(owner, self._line)

    def wants(self, key: str, owner: str) -> bool:
        """True if a task of `owner` that was found is to be watched."""
        return owner == self._owner and key not in self._unwanted

    def is_unwanted(self, key: str) -> bool:
        """True if the client has asked to hear no more of this task."""
        return key in self._unwanted

    def want(self, keys: Iterable[str]) -> None:
        """The client has named these itself."""
        self._unwanted.difference_update(keys)

    def drop(self, key: str, owner: str) -> None:
        """The client does not want this one; it must not come back by being the user's."""
        if self._owner is not None and owner == self._owner:
            self._unwanted.add(key)
