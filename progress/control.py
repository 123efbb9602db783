"""Asking a task to stop. It is a wish: the task is shown as cancelling until the worker says that it stopped.

Who has asked before may ask that it be ended by force, if they may and if the pool that runs it can.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Final

from django.utils.translation import gettext_noop

from . import groups, snapshot
from .claims import Claim
from .hub import Hub
from .publisher import get_publisher
from .record import Record, Status
from .revoking import Revocation, Told
from .store import Answer, Write, get_store

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of a request: an action that was taken, or the code of a refusal and why."""

    action: str = ""  # "cancel" or "terminate"; "" = refused
    code: str = ""
    detail: str = ""


NOT_FOUND: Final = Decision(code="not_found")
NOT_ALLOWED: Final = Decision(code="not_allowed")
ENDED: Final = Decision(code="ended")
CANCEL: Final = Decision("cancel")
TERMINATE: Final = Decision("terminate")
UNCANCELLABLE: Final = Decision(
    code="not_allowed", detail=gettext_noop("This task says of itself that it cannot be cancelled.")
)
UNABLE: Final = Decision(
    code="not_allowed",
    detail=gettext_noop("This worker's pool cannot end a running task; it ends when the task next reports."),
)
NAMELESS: Final = Decision(
    code="not_allowed",
    detail=gettext_noop("Only the record's key is known here: ask by the task's id to end it by force."),
)
GONE: Final = Decision(
    code="not_allowed",
    detail=gettext_noop(
        "The worker has nothing to end: the task has just ended, or was told before and takes no notice."
    ),
)
SILENT: Final = Decision(
    code="not_allowed",
    detail=gettext_noop(
        "The worker did not answer within a second. It may still end the task; if it does not, ask again."
    ),
)
TOLD: Final = {Told.DONE: TERMINATE, Told.UNABLE: UNABLE, Told.UNKNOWN: GONE, Told.SILENT: SILENT}


def decide(record: Record | None, may: frozenset[str], *, terminate: bool) -> Decision:
    """What should become of a request by somebody who `may` do this with the task. Pure.

    A request to terminate is one to cancel, as long as nobody has asked for that or nothing runs.
    """
    if record is None or not may:
        return NOT_FOUND
    if not Claim.of(record).cancellable:
        return UNCANCELLABLE
    if "cancel" not in may or (terminate and "terminate" not in may):
        return NOT_ALLOWED
    if record.ended:
        return ENDED
    if not terminate or not record.control or record.state not in snapshot.LIVE:
        return CANCEL
    return TERMINATE if record.terminable else UNABLE


def carry_out(decision: Decision, name: str, record: Record | None, by: str) -> Decision:
    """Do what was decided about the task that `name` means (its id, or its key), and say what came of it.

    Takes a second at the most beside the store's own time. Raises `StoreUnavailable`.
    """
    if decision is CANCEL:
        return _after_asking(cancel(snapshot.address(name), by))
    revocation = _revocation(decision, name, record, by)
    return TOLD[revocation.send()] if revocation else _without_name(decision)


async def acarry_out(decision: Decision, name: str, record: Record | None, by: str, hub: Hub) -> Decision:
    """Like `carry_out`, in the hub's event loop."""
    if decision is CANCEL:
        return _after_asking(await acancel(snapshot.address(name), by, hub))
    revocation = _revocation(decision, name, record, by)
    return TOLD[await revocation.asend()] if revocation else _without_name(decision)


def _after_asking(status: Status) -> Decision:
    if status in (Status.ACCEPTED, Status.SAME):
        return CANCEL
    return ENDED if status is Status.ENDED else NOT_FOUND


def _without_name(decision: Decision) -> Decision:
    return NAMELESS if decision is TERMINATE else decision


def _revocation(decision: Decision, name: str, record: Record | None, by: str) -> Revocation | None:
    """The request to the worker; None if none is to be made, or if Celery's own id of the task is not known here."""
    if decision is not TERMINATE or record is None or name.startswith("~"):
        return None
    worker = str(record.snapshot(staff=True).get("worker", ""))
    logger.info("Task %s is to be ended by force, on request of %s", name, by)
    return Revocation(name, "" if worker.endswith("…") else worker)  # cut: all of them are asked then


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
