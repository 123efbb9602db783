"""Asking a task to stop. It is a wish: the task is shown as cancelling until the worker says that it stopped."""

from __future__ import annotations

from . import groups, snapshot
from .hub import Hub
from .publisher import get_publisher
from .record import Status
from .store import Answer, Write, get_store


def cancel(key: str, by: str) -> Status:
    """Ask on behalf of the user `by`; the answer is `ACCEPTED`, `SAME` (asked before), `ENDED` or `UNKNOWN`.

    Raises `StoreUnavailable` when the wish could not be kept.
    """
    answer = get_store().write(_wish(key, by))
    if answer.accepted:
        publisher = get_publisher()
        publisher.announce(groups.of_key(key), groups.hint(key, answer.head.seq))
        if answer.head.process and answer.head.state in snapshot.LIVE:
            event = {"type": "progress.control", "id": key, "cancel": True}
            publisher.announce(groups.of_process(answer.head.process), event)
    return answer.status


async def acancel(key: str, by: str, hub: Hub) -> Status:
    """Like `cancel`, in the hub's event loop."""
    answer: Answer
    (answer,) = await get_store().awrite_many([_wish(key, by)])
    if answer.accepted:
        await hub.announce(key, answer.head.seq)
        await hub.tell_worker(answer.head, key, cancel=True)
    return answer.status


def _wish(key: str, by: str) -> Write:
    return Write("cancel", key, {"by": by or "somebody"})
