"""The workflows that one client watches: which they are, and the newest of each that it is still to be told."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Iterable
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from . import snapshot
from .access import Access
from .authorize import Run
from .claims import Claim
from .exceptions import StoreUnavailable
from .hub import Hub
from .store import get_store
from .trees import TreeWatcher, read_trees
from .workflow import Workflow

MAX_TREES: Final = 20  # per connection; each may bring two hundred members

Say = Callable[..., Awaitable[None]]
TakeUp = Callable[[list[str]], Coroutine[Any, Any, None]]


@dataclass(slots=True)
class _Watched:
    name: str  # as the client called it
    claim: Claim
    newest: Workflow | None = None
    sending: bool = False
    members: set[str] = field(default_factory=set)  # that were taken up, or may not be watched


@dataclass(frozen=True, slots=True)
class Found:
    """A workflow, by whatever id the client knew it."""

    key: str
    workflow: Workflow

    @property
    def claim(self) -> Claim:
        """What decides who may watch it."""
        return Claim(self.workflow.owner, self.key)


async def find_tree(key: str) -> Found | None:
    """The workflow that the task or the group `key` belongs to. Unknown ids cost as many readings as known ones."""
    (record,) = await get_store().aload_many([key])
    # A group inside a workflow is watched on its own, by the id that its sender was given.
    tree = (record.tree or key) if record else key
    workflow = (await read_trees([tree])).get(tree)
    return Found(tree, workflow) if workflow else None


class Line(TreeWatcher, Protocol):
    """What carries the conversation: it is told of changes, and does things beside."""

    def start(self, work: Coroutine[Any, Any, None]) -> None: ...


class TreeWatches:
    """`say` sends a message; `take_up` watches members, as far as they may be watched."""

    def __init__(self, hub: Hub, access: Access, line: Line, say: Say, take_up: TakeUp) -> None:
        self._hub, self._access, self._line = hub, access, line
        self._say, self._take_up = say, take_up
        self._watched: dict[str, _Watched] = {}
        self._closed = False

    async def close(self) -> None:
        """Watch nothing any more."""
        self._closed = True
        await self.leave(list(self._watched))

    def _may(self, key: str, claim: Claim) -> bool:
        return "watch" in self._access.tree_rights(key, claim).actions

    async def _ask(self, key: str, found: Found | None) -> None:
        """Ask the site, too; of what does not exist as well."""
        if found is None:
            await self._access.ask_tree(key, Run(key), None)
        else:
            await self._access.ask_tree(found.key, _run(found.key, found.claim), found.claim)
        if found is None or not self._may(found.key, found.claim):
            self._access.forget_tree(found.key if found else key)

    async def watch(self, name: str, ref: Any) -> None:
        """Answer, and tell the client of this workflow from now on. Raises `StoreUnavailable`."""
        key = snapshot.address(name)
        found = await find_tree(key)
        await self._ask(key, found)
        if found is None or not self._may(found.key, found.claim):
            await self._say("refused", ref, ids=[name], code="not_found")
        elif len(self._watched) >= MAX_TREES and found.key not in self._watched:
            await self._say("refused", ref, ids=[name], code="too_many")
        else:
            known = self._watched.get(found.key)
            self._watched[found.key] = _Watched(name, found.claim, members=known.members if known else set())
            await self._say("watching", ref, items=[self._access.tree_item(found.key, found.claim, name)])
            # A slow reader took its time with that, and may have left meanwhile.
            if not self._closed and found.key in self._watched:
                self.update(found.key, found.workflow)
                await self._hub.watch_tree(found.key, self._line)

    def update(self, key: str, workflow: Workflow) -> None:
        """From the hub: the workflow has changed."""
        tree = self._watched.get(key)
        if tree is None:
            return
        if tree.claim.owner != workflow.owner:  # the id was used again: what was granted was granted for another
            self._access.forget_tree(key)
        tree.claim = Claim(workflow.owner, key)
        if not self._may(key, tree.claim):
            return  # told when the rights are looked at again
        tree.newest = workflow
        fresh = [member for member in workflow.members if member not in tree.members]
        if fresh:
            tree.members.update(fresh)
            self._line.start(self._take_members(tree, fresh))
        if not tree.sending:
            tree.sending = True
            self._line.start(self._send(tree, key))

    async def _take_members(self, tree: _Watched, fresh: list[str]) -> None:
        try:
            await self._take_up(fresh)
        except StoreUnavailable:
            tree.members.difference_update(fresh)  # with the next change, then
            raise

    async def _send(self, tree: _Watched, key: str) -> None:
        try:
            while (newest := tree.newest) is not None and self._watched.get(key) is tree:
                tree.newest = None
                told = {**newest.message(tree.name), "tree": key, "at": self._hub.now()}
                await self._say("tree", None, **told)
        finally:
            tree.sending = False

    def over(self) -> list[str]:
        """Keys of those that may no longer be watched."""
        return [key for key, tree in self._watched.items() if not self._may(key, tree.claim)]

    def called(self, names: Iterable[str]) -> list[str]:
        """Keys of those that the client means by `names`."""
        wanted = set(names)
        return [key for key, tree in self._watched.items() if wanted & {key, tree.name}]

    async def leave(self, keys: Iterable[str]) -> tuple[list[str], list[str]]:
        """Watch these no longer. Returns what the client called them, and their members."""
        gone = {key: self._watched.pop(key) for key in list(keys) if key in self._watched}
        for key in gone:
            self._access.forget_tree(key)
        await self._hub.trees.unwatch(gone, self._line)
        others: set[str] = set().union(*(tree.members for tree in self._watched.values()))
        members = [member for tree in gone.values() for member in tree.members - others]
        return [tree.name for tree in gone.values()], members

    def all(self) -> list[str]:
        """Keys of everything that is watched."""
        return list(self._watched)

    def runs(self) -> dict[str, Run]:
        """What is watched, as the site's own function is told of it."""
        return {key: _run(key, tree.claim) for key, tree in self._watched.items()}


def _run(key: str, claim: Claim) -> Run:
    """A workflow, as the site's own function is told of it: by the name "workflow"."""
    return Run(key, "workflow", claim.owner, key)
