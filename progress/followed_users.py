"""The users whose unfinished tasks somebody here wants to know of: one group and one regular look for each."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from . import groups
from .record import Record
from .store import MINE_LIMIT, get_store
from .subscription import Subscription
from .watched import Followed, Watched, Watcher


class FollowedUsers:
    """Those of one hub. All methods belong to its event loop."""

    def __init__(
        self,
        subscription: Subscription,
        watched: Mapping[str, Watched],
        look_at: Callable[[list[str]], Awaitable[None]],
    ) -> None:
        self._subscription, self._watched, self._look_at = subscription, watched, look_at
        self._owners: dict[str, Followed] = {}

    async def follow(self, owner: str, watcher: Watcher, now: int) -> None:
        """Tell `watcher` of the unfinished tasks of `owner`, and of those that come from `now` (µs, Redis's) on."""
        self._owners.setdefault(owner, Followed()).followers[watcher] = now
        await self._subscription.wait_connected()
        if owner in self._owners:
            await self._subscription.join(groups.of_owner(owner))
            await self._find(owner)

    async def unfollow(self, owner: str, watcher: Watcher) -> None:
        """Tell `watcher` of no more tasks of `owner`."""
        followed = self._owners.get(owner)
        if followed is None:
            return
        followed.followers.pop(watcher, None)
        if not followed.followers:
            del self._owners[owner]
            await self._subscription.leave(groups.of_owner(owner))

    def tell(self, key: str, record: Record) -> None:
        """This is the newest of a task, whoever it belongs to."""
        if followed := self._owners.get(record.owner):
            followed.tell(key, record)

    async def look_again(self) -> None:
        """Look for tasks that nobody has announced. Raises `StoreUnavailable`."""
        for owner in list(self._owners):
            await self._find(owner)

    async def _find(self, owner: str) -> None:
        """Read those of the user's tasks that may be unfinished and that not all followers watch."""
        keys = await get_store().amine(owner, MINE_LIMIT)
        wanted = self._owners.get(owner, Followed()).to_read(keys, self._watched)
        if wanted:
            await self._look_at(wanted)
