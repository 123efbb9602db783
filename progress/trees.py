"""The workflows that somebody here watches: one group and one regular look for each, whatever their size.

A change of a part's state is announced in the workflow's group; how far the parts are is looked up every second, all
watched workflows in one round trip.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Final, Protocol

from . import groups
from .exceptions import ProgressError
from .pile import Pile
from .store import get_store
from .subscription import Subscription
from .workflow import Workflow

logger = logging.getLogger(__name__)

LOOK_AGAIN: Final = 1.0  # seconds between two looks at everything
LOOK_TOGETHER: Final = 0.2  # seconds; announcements within them are looked at together


class TreeWatcher(Protocol):
    """Who watches workflows."""

    def tree_update(self, key: str, workflow: Workflow) -> None: ...


@dataclass(slots=True)
class _Tree:
    shown: Workflow | None = None
    watchers: set[TreeWatcher] = field(default_factory=set)


async def read_trees(keys: Collection[str]) -> dict[str, Workflow]:
    """The workflows of `keys` that exist, each with the task that it begins with. Raises `StoreUnavailable`."""
    keys = list(keys)
    store = get_store()
    firsts, sums = await store.aload_many(keys), await store.aload_workflows(keys)
    return {
        key: (workflow or Workflow()).beginning_with(key, first)
        for key, first, workflow in zip(keys, firsts, sums, strict=True)
        if first or workflow
    }


class Trees:
    """Watched workflows of one hub. All methods belong to its event loop."""

    def __init__(self, subscription: Subscription) -> None:
        self._subscription = subscription
        self._trees: dict[str, _Tree] = {}
        self._to_read = Pile()
        self._looking = asyncio.Lock()  # an older answer must not follow a newer one

    async def watch(self, key: str, watcher: TreeWatcher) -> None:
        """Tell `watcher` of every change of the workflow `key` from now on, beginning with what is known."""
        tree = self._trees.setdefault(key, _Tree())
        tree.watchers.add(watcher)
        await self._subscription.wait_connected()
        if key in self._trees:
            await self._subscription.join(groups.of_tree(key))
            if tree.shown is not None:
                watcher.tree_update(key, tree.shown)
            self._to_read.add(key)

    async def unwatch(self, keys: Iterable[str], watcher: TreeWatcher) -> None:
        """Tell `watcher` nothing more about these."""
        deserted = []
        for key in keys:  # all of them before anything is awaited: the connection may be cut off here
            tree = self._trees.get(key)
            if tree is None:
                continue
            tree.watchers.discard(watcher)
            if not tree.watchers:
                del self._trees[key]
                deserted.append(groups.of_tree(key))
        if deserted:
            await self._subscription.leave(*deserted)

    def changed(self, key: str) -> None:
        """Somebody says that this workflow has changed."""
        if key in self._trees:
            self._to_read.add(key)

    async def read_what_was_announced(self) -> None:
        """Look at workflows soon after they are said to have changed. Runs until it is cancelled."""
        while True:
            await self._look_at(await self._to_read.take())
            await asyncio.sleep(LOOK_TOGETHER)

    async def look_again(self) -> None:
        """Look at all watched workflows every second. Runs until it is cancelled."""
        while True:
            await asyncio.sleep(LOOK_AGAIN)
            if self._trees:
                await self._look_at(list(self._trees))

    async def _look_at(self, keys: Collection[str]) -> None:
        async with self._looking:
            await self._look(keys)

    async def _look(self, keys: Collection[str]) -> None:
        try:
            found = await read_trees(keys)
        except ProgressError as error:
            logger.debug("The watched workflows are looked at later: %s", error)
            return
        except Exception:
            logger.exception("The watched workflows could not be looked at")
            return
        for key, workflow in found.items():
            tree = self._trees.get(key)
            if tree is not None and tree.shown != workflow:
                tree.shown = workflow
                for watcher in list(tree.watchers):
                    watcher.tree_update(key, workflow)
