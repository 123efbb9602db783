"""Live progress of Celery tasks, pushed to browsers through Django Channels.

In a task::

    import progress

    for row in progress.track(rows):
        ...

Everything in ``__all__`` is public; everything else may move.
"""

from __future__ import annotations

from .exceptions import InvalidReport, InvalidToken, ProgressError, StoreUnavailable, TaskCancelled
from .groups import group_name

# The functions `options` and `reporter` take the names of the modules they come from: "progress.options" is
# what a task writes. Inside the package both modules are imported by `from .options import …` only.
from .options import options
from .owners import owner
from .reporter import Reporter, advance, log, reporter, reset, track, update
from .snapshot import State, key
from .tokens import watch_token

__all__ = [
    "InvalidReport",
    "InvalidToken",
    "ProgressError",
    "Reporter",
    "State",
    "StoreUnavailable",
    "TaskCancelled",
    "advance",
    "group_name",
    "key",
    "log",
    "options",
    "owner",
    "reporter",
    "reset",
    "track",
    "update",
    "watch_token",
]
