"""What one client and this server say to each other, whatever carries it. `docs/protocol.md` is the contract.

It watches tasks at the hub, answers messages, and puts snapshots into the outbox. It knows no socket: its `Line`
tells a message, does something beside, and is what the hub calls.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, KeysView
from contextlib import suppress
from functools import partial
from typing import Any, Final, Protocol

from . import snapshot
from .access import Access
from .claims import Claim
from .control import acarry_out, decide
from .exceptions import InvalidToken, StoreUnavailable
from .hub import Hub
from .messages import Message
from .outbox import Outbox, Shown
from .own_tasks import OwnTasks
from .permissions import Viewer
from .record import Record
from .task_watches import TaskWatches
from .tree_watches import TreeWatches
from .trees import TreeWatcher
from .watched import Watcher
from .workflow import Workflow


class Line(Watcher, TreeWatcher, Protocol):
    """What carries a conversation."""

    async def tell(self, told: dict[str, Any]) -> None: ...
    def start(self, work: Coroutine[Any, Any, None]) -> None: ...


class Conversation:
    """One client's watches and rights. Methods that read raise `StoreUnavailable`."""

    def __init__(self, hub: Hub, outbox: Outbox, line: Line) -> None:
        self.access = Access()
        self.address: str | None = None  # key of the single task that the URL names
        self._hub, self._outbox, self._line = hub, outbox, line
        self._tasks = TaskWatches(hub, self.access, outbox, line, self._say)
        self._trees = TreeWatches(hub, self.access, line, self._say, self._take_up_members)
        self._own = OwnTasks(hub, line)
        self._expiry: asyncio.TimerHandle | None = None
        self._looking = self._closed = False

    async def close(self) -> None:
        """Watch nothing any more."""
        self._closed = True
        if self._expiry:
            self._expiry.cancel()
        await self._tasks.close()
        await self._trees.close()
        await self._own.leave()

    @property
    def watched(self) -> KeysView[str]:
        """Keys of the tasks that are watched at the moment."""
        return self._tasks.claims.keys()

    # --- From the hub --------------------------------------------------------------------------------------

    def progress_update(self, shown: Shown) -> None:
        """A task that is watched has something newer."""
        if self._closed or shown.key not in self._tasks.claims:
            return
        if shown.claim != self._tasks.claims[shown.key] and not self._is_still_allowed(shown):
            return
        self._tasks.show(shown)

    def task_found(self, key: str, record: Record) -> None:
        """The user whose tasks are followed has this unfinished one."""
        known = self._closed or key in self._tasks.claims or not self._tasks.room()
        if not known and self._own.wants(key, record.owner):
            self._tasks.claims[key] = Claim.of(record)  # it counts from now on, not when its turn comes
            self._line.start(self._tasks.watch({key: Claim.of(record)}, None))

    def tree_update(self, key: str, workflow: Workflow) -> None:
        """A workflow that is watched has changed."""
        if not self._closed:
            self._trees.update(key, workflow)

    # --- From the client -----------------------------------------------------------------------------------

    async def answer(self, message: Message) -> None:
        """Do what `message` asks for."""
        await self._answers[message.type](self, message)

    async def watch_address(self, ref: Any = None) -> bool:
        """Watch the task of the single-task URL. False if that may not be watched, or not yet."""
        if self.address is None or self.address in self._tasks.claims:
            return self.address is not None
        allowed, _ = await self._tasks.sort_out([self.address])
        if allowed:
            await self._tasks.watch(allowed, ref)
        return bool(allowed)

    async def _on_watch(self, message: Message) -> None:
        if message.every is not None:
            self._outbox.every = message.every
        if message.token is not None and not await self._take_token(message, "not_found"):
            return
        if message.mine:
            await self._follow_mine(message)
        if message.tree is not None:
            await self._trees.watch(message.tree, message.ref)
        if not message.ids:
            return
        names = {snapshot.address(name): name for name in message.ids}
        self._own.want(names)
        allowed, refused = await self._tasks.sort_out(names)
        if refused:
            await self._refuse([names[key] for key in refused], "not_found", message.ref)
        over = [key for key in allowed if key not in self._tasks.claims][self._tasks.room() :]
        if over:
            for key in over:
                self.access.forget(key)
            await self._refuse([names[key] for key in over], "too_many", message.ref)
            allowed = {key: claim for key, claim in allowed.items() if key not in over}
        if allowed:
            self._tasks.asked.update(allowed)
            await self._tasks.watch(allowed, message.ref, names)

    async def _take_up_members(self, keys: list[str]) -> None:
        fresh = [key for key in keys if key not in self._tasks.claims and not self._own.is_unwanted(key)]
        allowed, _ = await self._tasks.sort_out(fresh)
        wanted = {key: claim for key, claim in allowed.items() if key not in self._tasks.claims}
        if (wanted := dict(list(wanted.items())[: self._tasks.room()])) and not self._closed:
            await self._tasks.watch(wanted, None)

    async def _follow_mine(self, message: Message) -> None:
        if not self.access.viewer.user:
            await self._refuse([], "not_allowed", message.ref)
            return
        owner = self.access.viewer.user
        self._own.begin(owner)
        await self._say("watching", message.ref, items=[])
        if not self._closed:  # a slow reader took its time with that
            await self._own.follow(owner)

    async def _on_unwatch(self, message: Message) -> None:
        if message.everything:
            await self._own.leave()
        trees = self._trees.all() if message.everything else self._trees.called(message.ids)
        _, members = await self._trees.leave(trees)
        await self._unwatch([key for key in members if key not in self._tasks.asked])
        keys = list(self._tasks.claims) if message.everything else [snapshot.address(name) for name in message.ids]
        watched = [key for key in keys if key in self._tasks.claims]
        for key in watched:
            self._own.drop(key, self._tasks.claims[key].owner)
        await self._unwatch(watched)

    async def _on_cancel(self, message: Message) -> None:
        (name,) = message.ids
        key = snapshot.address(name)
        record = (await self._hub.read([key])).get(key)
        may = await self.access.rights_now(key, record, ("watch", *message.asks_for))
        if key not in self._tasks.claims:
            self.access.forget(key)
        decision = decide(record, may, terminate=message.terminate)
        done = await acarry_out(decision, name, record, self.access.viewer.user, self._hub)
        if done.action:
            await self._say("accepted", message.ref, id=name, action=done.action)
        else:
            await self._refuse([name], done.code, message.ref, done.detail)

    async def _on_logs(self, message: Message) -> None:
        (name,) = message.ids
        key = snapshot.address(name)
        allowed, _ = await self._tasks.sort_out([key])
        if key in allowed and not self.access.may_read_logs(key, allowed[key]):
            await self.access.rights_now(key, (await self._hub.read([key])).get(key), ("logs",))
        if key not in allowed:
            await self._refuse([name], "not_found", message.ref)
        elif not self.access.may_read_logs(key, allowed[key]):
            await self._refuse([name], "not_allowed", message.ref)
        elif key not in self._tasks.claims and not self._tasks.room():
            await self._refuse([name], "too_many", message.ref)
        else:
            if key not in self._tasks.claims:
                await self._tasks.watch(allowed, None)
            await self._tasks.logs.follow(key, message.after, message.ref)

    async def _on_token(self, message: Message) -> None:
        if not await self._take_token(message, "expired"):
            return
        waited_for_it = self.address is not None and self.address not in self._tasks.claims
        if not (waited_for_it and await self.watch_address(message.ref)):
            await self._say("watching", message.ref, items=self._tasks.items(self._tasks.claims))

    async def _on_ping(self, message: Message) -> None:
        await self._say("heartbeat", message.ref, at=self._hub.now())

    _answers: Final[dict[str, Callable[[Conversation, Message], Awaitable[None]]]] = {
        "watch": _on_watch,
        "unwatch": _on_unwatch,
        "cancel": _on_cancel,
        "logs": _on_logs,
        "token": _on_token,
        "ping": _on_ping,
    }

    # --- Rights --------------------------------------------------------------------------------------------

    async def look_again(self, viewer: Viewer) -> None:
        """Anybody's rights may have changed: show what may be seen now. One look at a time."""
        if self._looking:
            return  # the next review comes soon
        self._looking = True
        try:
            await self._look_again(viewer)
        finally:
            self._looking = False

    async def _look_again(self, viewer: Viewer) -> None:
        self.access.viewer = viewer
        with suppress(StoreUnavailable):  # no reason to show less
            await self.access.ask_again(self._hub.read, self._trees.runs())
        for key in self._tasks.claims:
            self._tasks.fit_view(key)
        await self._drop_what_is_over("not_found")

    def needs_a_look(self, viewer: Viewer) -> bool:
        """True if what may be seen can be something else now than when it was looked at last."""
        return viewer != self.access.viewer or self.access.is_due()

    def _is_still_allowed(self, shown: Shown) -> bool:
        """Decide again about a task whose id was used for another run: that may be somebody else's."""
        key = shown.key
        if shown.seq < self._tasks.claims[key].seq:
            return False  # of the run before the one that was asked for
        self._tasks.claims[key] = shown.claim
        self.access.forget(key)
        self._tasks.fit_view(key)
        if "watch" in self.access.rights(key, shown.claim).actions:
            return True
        self._line.start(self._watch_if_granted(self._tasks.forget([key])))
        return False

    async def _watch_if_granted(self, keys: list[str]) -> None:
        await self._tasks.leave(keys)
        allowed, refused = await self._tasks.sort_out(keys)
        if refused:
            await self._refuse(refused, "not_found", None)
        if allowed and not self._closed:
            await self._tasks.watch(allowed, None)

    async def _take_token(self, message: Message, code: str) -> bool:
        try:
            await self.access.add_token(message.token or "")
        except InvalidToken:
            named = [*message.ids, *([message.tree] if message.tree else [])]
            await self._refuse(named, code, message.ref)
            return False
        self._wake_at_expiry()
        return True

    def _wake_at_expiry(self) -> None:
        if self._expiry:
            self._expiry.cancel()
        if (delay := self.access.next_expiry()) is not None:
            over = partial(self._drop_what_is_over, "expired")
            self._expiry = asyncio.get_running_loop().call_later(delay + 0.01, lambda: self._line.start(over()))

    async def _drop_what_is_over(self, code: str) -> None:
        if over := self._tasks.forget(self.access.over(self._tasks.claims)):
            await self._say_over(over, code)
        self.access.drop_tokens()
        if trees := self._trees.over():
            names, _ = await self._trees.leave(trees)
            await self._refuse(names, code, None)
        self._wake_at_expiry()

    async def _say_over(self, gone: list[str], code: str) -> None:
        await self._tasks.leave(gone)
        await self._refuse(gone, code, None)

    # --- What is given up, and what is said ----------------------------------------------------------------

    async def _unwatch(self, keys: Iterable[str]) -> None:
        await self._tasks.leave(self._tasks.forget(keys))

    async def _refuse(self, ids: Iterable[str], code: str, ref: Any, detail: str = "") -> None:
        await self._say("refused", ref, ids=list(ids), code=code, **({"detail": detail} if detail else {}))

    async def _say(self, kind: str, ref: Any, **fields: Any) -> None:
        await self._line.tell({"type": kind, **fields} if ref is None else {"type": kind, **fields, "ref": ref})
