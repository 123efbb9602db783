"""Live progress of Celery tasks, pushed to browsers through Django Channels.

In a task::

    import progress

    for row in progress.track(rows):
        ...

Everything in ``__all__`` is public; everything else may move.
"""

from __future__ import annotations

from .annotations import StoredFile
from .exceptions import InvalidReport, InvalidToken, ProgressError, StoreUnavailable, TaskCancelled

# The functions `options`, `reporter` and `stages` take the names of modules: "progress.options" is what a task
# writes. Inside the package those modules are imported by `from .options import …` only.
from .functions import advance, log, reporter, reset, stage, stages, track, update
from .groups import group_name
from .options import options
from .owners import owner
from .redaction import HIDDEN
from .reporter import Reporter
from .snapshot import State, key
from .tokens import revoke_token, revoke_tokens, watch_token

__all__ = [
    "HIDDEN",
    "InvalidReport",
    "InvalidToken",
    "ProgressError",
    "Reporter",
    "State",
    "StoreUnavailable",
    "StoredFile",
    "TaskCancelled",
    "advance",
    "group_name",
    "key",
    "log",
    "options",
    "owner",
    "reporter",
    "reset",
    "revoke_token",
    "revoke_tokens",
    "stage",
    "stages",
    "track",
    "update",
    "watch_token",
]
