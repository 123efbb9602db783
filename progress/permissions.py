"""Who may do what with a task. Deny by default; unknown and forbidden get the same answer.

A task may be watched and cancelled by its owner, watched by staff with ``task_progress.view_taskrun``, cancelled
and then ended by force by staff with ``task_progress.cancel_taskrun``. A watch token says what its bearer may of
watching and cancelling. A task that says that it cannot be cancelled may be cancelled by nobody.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from .claims import Claim
from .owners import owner_id
from .record import Record
from .tokens import WatchToken

VIEW: Final = "task_progress.view_taskrun"
CANCEL: Final = "task_progress.cancel_taskrun"
START: Final = "task_progress.start_taskrun"
RERUN: Final = "task_progress.rerun_taskrun"
ARGUMENTS: Final = "task_progress.see_arguments_taskrun"
PERMISSIONS: Final = (VIEW, CANCEL, START, RERUN, ARGUMENTS)


@dataclass(frozen=True, slots=True)
class Viewer:
    """Somebody who looks: who it is ("" = nobody) and which of our permissions they hold as staff."""

    user: str = ""
    permissions: frozenset[str] = frozenset()
    account: Any = field(default=None, compare=False, repr=False)  # the user object; None = nobody
    since: float = field(default=0.0, compare=False, repr=False)  # when that was loaded; seconds, monotonic

    def may(self, action: str, record: Record | None) -> bool:
        """True if this viewer may "watch", "cancel" or "terminate" the task; False if there is no such task."""
        return record is not None and action in rights("", Claim.of(record), self).actions

    @property
    def staff(self) -> bool:
        """True if this viewer sees the staff view, of any task."""
        return VIEW in self.permissions


@dataclass(frozen=True, slots=True)
class Rights:
    """What somebody may do with one task, and until when (None = as long as the session lasts)."""

    actions: frozenset[str] = frozenset()
    staff: bool = False
    until: str | None = None


def viewer_of(user: Any) -> Viewer:
    """The viewer that a user object is. Asks the database for their permissions."""
    if not owner_id(user) or not getattr(user, "is_active", False):
        return Viewer()
    held = [name for name in PERMISSIONS if user.is_staff and user.has_perm(name)]
    return Viewer(owner_id(user), frozenset(held), user, time.monotonic())


def rights(
    key: str,
    claim: Claim,
    viewer: Viewer,
    tokens: Iterable[WatchToken] = (),
    granted: frozenset[str] = frozenset(),
) -> Rights:
    """What session and tokens together allow, and what the site has `granted`: the union. No I/O."""
    actions = set(granted)
    if viewer.user and viewer.user == claim.owner:
        actions |= {"watch", "cancel"}
    if VIEW in viewer.permissions:
        actions.add("watch")
        if CANCEL in viewer.permissions:
            actions |= {"cancel", "terminate"}
    covering = [token for token in tokens if not token.over and token.key in (key, claim.tree) and token.key]
    if "watch" in actions:
        until = None
    else:
        lasting = [token for token in covering if "watch" in token.actions]
        until = max(lasting, key=lambda token: token.expires).until if lasting else None
    for token in covering:
        actions |= token.actions
    if not claim.cancellable:
        actions -= {"cancel", "terminate"}
    return Rights(frozenset(actions), viewer.staff, until)
