"""This process's one channel in the layer, and the groups it is in. It is kept alive whatever happens to Redis.

Layers forget memberships (a restart, a flush, a dead receiver) and say nothing, so they are remembered here and
made again with every new channel. Whoever is told `renewed` has to look for itself what it missed.

A receiver that is deaf says nothing either: a canary goes through the layer to ourselves every few seconds, and
when it does not come back, the layer's instance is replaced. Canaries that the layer takes and that do not come back
mean that we are deaf *while Redis answers*: that is what `hearing` tells a health check, and what the watchdog ends a
process for. Canaries that it does not take mean that Redis is away, which is no fault of this process.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
import weakref
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from channels.layers import channel_layers

from . import groups
from .conf import conf
from .counters import counters
from .exceptions import ProgressError
from .patient_receiver import receive_patiently
from .watchdog import watchdog

logger = logging.getLogger(__name__)

RESTART_AFTER: Final = 0.5  # seconds between two attempts to get a channel
JOIN_AGAIN: Final = 30.0  # seconds; on a core layer every group is joined again
START_WAIT: Final = 1.0  # seconds that a first watcher waits for the layer; without it the sweep serves
CONNECT_WAIT: Final = 3.0  # seconds to get a channel from a Redis that may have stalled
CALL_TIMEOUT: Final = 1.0  # seconds for one call of a layer that may hang
CANARY: Final = "progress.canary"
CANARY_INTERVAL: Final = 2.0  # seconds
CANARIES: Final = 3  # that did not come back, in a row; then we are deaf
DEAF_AFTER: Final = 10.0  # seconds in which every canary was taken and none came back; then a health check fails
UNREADABLE: Final = 1000  # messages in a row that nobody could decode; then the layer itself is broken


class Deaf(ProgressError):
    """The layer takes what is sent and delivers nothing: its receiver is dead or its connection half-open."""


@dataclass(frozen=True, slots=True)
class Hearing:
    """How well this process hears."""

    age: float | None = None  # seconds since the last canary came back; None = no hub, or none has come back yet
    deaf_for: float = 0.0  # seconds since a canary was taken, with none back and none refused since

    @property
    def deaf(self) -> bool:
        """True if nothing is heard although Redis answers, for longer than a replacement takes."""
        return self.deaf_for > DEAF_AFTER


_running: weakref.WeakSet[Subscription] = weakref.WeakSet()


def hearing() -> Hearing:
    """How the worst of this process's hubs hears. May be asked in any thread; without a hub all is well."""
    found = [each.hearing() for each in list(_running)]
    return max(found, key=lambda each: (each.deaf_for, each.age or 0.0), default=Hearing())


class Subscription:
    """Passes every event of the joined groups to `take`. All methods belong to one event loop."""

    def __init__(self, take: Callable[[Any], None], renewed: Callable[[], None]) -> None:
        self._take, self._renewed = take, renewed
        self._groups: set[str] = set()  # that we want to be in
        self._joined: set[str] = set()  # that our channel is in
        self._changes: set[asyncio.Task[None]] = set()
        self._receivers: set[asyncio.Task[None]] = set()  # one, and those that do not end
        self._layer: Any = None
        self._channel = ""  # "" until the layer gave us one
        self._canary = 0  # the number of the newest that was sent
        self._heard = 0  # and of the newest that came back
        self._heard_at: float | None = None  # monotonic seconds, as below
        self._unheard_since: float | None = None  # that a canary was taken which has not come back
        self._joined_at = 0.0  # when every group was joined again
        self._connected = asyncio.Event()
        self._changing = asyncio.Lock()

    async def run(self) -> None:
        """Receive for ever. Ends by cancelling."""
        loop = asyncio.get_running_loop()
        _running.add(self)
        if conf.PROGRESS_EXIT_WHEN_DEAF:
            watchdog.watch(lambda: self.hearing().deaf_for)
        try:
            await self._receive_for_ever()
        finally:
            _running.discard(self)
            watchdog.forget(loop)

    async def _receive_for_ever(self) -> None:
        make: Callable[[], Any] = _layer
        before = told = False  # that we had a channel; that we have none
        while True:
            try:
                self._layer = make()
                await self._connect()
                counters.receivers_replaced += before
                before, told = True, False
                await self._receive_while_not_deaf()
            except Exception as error:  # noqa: BLE001 (whatever ended it, it must not stay ended)
                if not isinstance(error, Deaf):
                    self._unheard_since = None  # it was not silent: Redis went away, as a rule
                # Once: while Redis is away there are two attempts a second.
                level = logging.DEBUG if told else logging.WARNING
                logger.log(level, "The progress receiver ended and is replaced: %r", error)
                told = True
            await self.disconnect()
            await asyncio.sleep(RESTART_AFTER)
            # A new backend instance: a layer whose receiver died does not recover.
            make = partial(channel_layers.make_backend, conf.PROGRESS_CHANNEL_LAYER)

    def hearing(self) -> Hearing:
        """How well this one hears. May be asked in any thread."""
        now, heard_at, since = time.monotonic(), self._heard_at, self._unheard_since
        return Hearing(None if heard_at is None else now - heard_at, 0.0 if since is None else now - since)

    @property
    def tasks(self) -> list[asyncio.Task[None]]:
        """What goes on beside `run`: for whoever ends the loop's work."""
        return [*self._changes, *self._receivers]

    async def wait_connected(self) -> None:
        """Return when there is a channel, at the latest after a second."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(START_WAIT):
                await self._connected.wait()

    async def join(self, *names: str) -> None:
        """Be in these groups from now on. Not promised: that their events arrive at once, or all of them."""
        self._groups.update(names)
        await self._settle(names)

    async def leave(self, *names: str) -> None:
        """Be in these groups no longer."""
        self._groups.difference_update(names)
        await self._settle(names)

    async def mend(self) -> None:
        """Try again what failed: a layer that was away took neither joins nor leaves."""
        if _is_core(self._layer) and time.monotonic() - self._joined_at > JOIN_AGAIN:
            # It keeps its members in Redis, which forgets them when it is emptied, and after a day. It says nothing.
            self._joined_at, self._joined = time.monotonic(), set()
        if not self._changes:  # while it hangs they must not pile up
            await self._settle(self._groups ^ self._joined)

    async def send(self, group: str, event: dict[str, Any]) -> None:
        """Send a hint; it may be lost."""
        try:
            async with asyncio.timeout(CALL_TIMEOUT):
                await (self._layer or groups.layer()).group_send(group, event)
        except Exception as error:  # noqa: BLE001 (the record has the truth; this was a hint)
            logger.debug("A progress hint was lost: %r", error)

    # --- The layer -----------------------------------------------------------------------------------------

    async def _connect(self) -> None:
        receive_patiently(self._layer, self._renewed)
        async with self._changing, asyncio.timeout(CONNECT_WAIT):
            self._channel = await self._layer.new_channel()
        await self._settle(self._groups)
        self._connected.set()
        self._renewed()

    async def _receive_while_not_deaf(self) -> None:
        receiving = asyncio.create_task(self._receive())
        self._receivers.add(receiving)
        receiving.add_done_callback(self._receivers.discard)
        missed = 0
        try:
            while missed < CANARIES and not receiving.done():
                sent = time.monotonic()
                answered = await self._send_canary()
                rest = sent + CANARY_INTERVAL - time.monotonic()
                await asyncio.wait([receiving], timeout=max(rest, CANARY_INTERVAL / 2))
                if self._heard == self._canary:
                    missed, self._unheard_since = 0, None
                    continue
                # A refusal says that Redis is away: a new instance would hear no more. Silence may be our own fault.
                missed += answered is not False
                self._unheard_since = (self._unheard_since or sent) if answered else None
        finally:
            # Not awaited for long: on its way out it unsubscribes, through a connection that may be dead.
            receiving.cancel()
            await asyncio.wait([receiving], timeout=START_WAIT)
        if receiving.done() and not receiving.cancelled() and (error := receiving.exception()):
            raise error
        raise Deaf

    async def _send_canary(self) -> bool | None:
        """True if Redis took it, False if it could not be reached, None if it said nothing in time."""
        self._canary += 1
        try:
            async with asyncio.timeout(CANARY_INTERVAL / 2):
                await self._layer.send(self._channel, {"type": CANARY, "number": self._canary})
        except TimeoutError:
            return None
        except Exception as error:  # noqa: BLE001 (a layer may raise anything)
            logger.debug("The channel layer takes nothing: %r", error)
            return False
        return True

    async def _receive(self) -> None:
        unreadable = 0  # in a row
        while True:
            try:
                event = await self._layer.receive(self._channel)
                unreadable = 0
            except (ValueError, TypeError, LookupError, AttributeError):
                # Anybody who reaches Redis can write into a group, what is no dict too. A layer that is dead raises
                # something else; should it raise one of these, it must not keep the loop busy.
                event, unreadable = None, unreadable + 1
                if unreadable >= UNREADABLE:
                    raise
            if isinstance(event, dict) and event.get("type") == CANARY:
                self._heard, self._heard_at = event.get("number", 0), time.monotonic()
            else:
                self._take(event)

    async def disconnect(self) -> None:
        """Give up the channel, within two seconds: what a layer in trouble does not take is left behind there."""
        self._connected.clear()
        channel, self._channel = self._channel, ""
        joined, self._joined = self._joined, set()
        layer, ours = self._layer, self._layer is not groups.layer()
        if not ours or _is_core(layer):  # a core layer keeps members in Redis, for a day
            await _within(START_WAIT, partial(_leave, layer, channel, joined))
        if ours and (close := _closing(layer)):
            await _within(START_WAIT, close)

    async def _settle(self, names: Iterable[str]) -> None:
        """Join or leave these groups, as they are wanted by then.

        Waits no longer than a second for a layer that hangs; it goes on when the waiting is cancelled, because
        others may rely on the same group by now.
        """
        change = asyncio.create_task(self._change(list(names)))
        self._changes.add(change)
        change.add_done_callback(self._changes.discard)
        await asyncio.wait([change], timeout=START_WAIT)

    async def _change(self, names: Iterable[str]) -> None:
        for name in names:
            async with self._changing:
                wanted = name in self._groups
                if not self._channel or wanted == (name in self._joined):
                    continue
                try:
                    async with asyncio.timeout(CALL_TIMEOUT):
                        await self._join_or_leave(name, wanted)
                except TimeoutError:
                    logger.debug("The channel layer hangs; the sweep goes on with %s", name)
                    return
                except Exception as error:  # noqa: BLE001 (a layer may raise anything; the sweep mends it)
                    logger.debug("A progress group could not be joined or left: %r", error)

    async def _join_or_leave(self, name: str, wanted: bool) -> None:
        channel = self._channel
        if wanted:
            await self._layer.group_add(name, channel)
            if channel == self._channel:  # else it was given up meanwhile, and joined nothing
                self._joined.add(name)
        else:
            await self._layer.group_discard(name, self._channel)
            self._joined.discard(name)


async def _leave(layer: Any, channel: str, names: Iterable[str]) -> None:
    await asyncio.gather(*(layer.group_discard(name, channel) for name in names))


async def _within(seconds: float, call: Callable[[], Awaitable[Any]]) -> None:
    with contextlib.suppress(Exception):
        async with asyncio.timeout(seconds):
            await call()


def _layer() -> Any:
    """An instance of our own of the site's layer, if its messages go through Redis; else the site's.

    All consumers of a core instance share one queue of a hundred messages, and what is too much is lost, whoever it
    was for. A pub/sub instance has one lock for sending and joining, and a receive loop that we replace.
    """
    shared = groups.layer()
    own = _is_core(shared) or hasattr(type(shared), "_get_layer")
    return channel_layers.make_backend(conf.PROGRESS_CHANNEL_LAYER) if own else shared


def _is_core(layer: Any) -> bool:
    return hasattr(type(layer), "close_pools")


def _closing(layer: Any) -> Callable[[], Awaitable[Any]] | None:
    """What closes the connections of an instance of ours, and nothing else.

    `flush` does so in the pub/sub layer; in the core layer it deletes the messages and groups of everybody.
    """
    name = "close_pools" if _is_core(layer) else "flush"
    found: Callable[[], Awaitable[Any]] | None = getattr(layer, name, None)
    return found
