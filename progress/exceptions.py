"""What this package raises. The docstring of a class is its default message, so it says what to do."""

from __future__ import annotations

import inspect


class ProgressError(Exception):
    """Progress could not be reported or read; see the message of the subclass."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or inspect.getdoc(type(self)))


class InvalidReport(ProgressError, ValueError):
    """A value given to a progress call cannot be shown: give text, numbers and small JSON-like data."""


class StoreUnavailable(ProgressError):
    """Redis did not answer in time: check that it runs and that PROGRESS_REDIS_URL points to it."""


class InvalidToken(ProgressError):
    """The watch token is malformed, expired or signed with another key: issue a new one with watch_token()."""


class TaskCancelled(BaseException):
    """Somebody asked to cancel this task: clean up and let this exception pass.

    Raised by ``advance()``, ``update()`` and ``track()`` inside the task. It is no ``Exception``, because the
    ``except Exception:`` of a loop over rows would swallow it and the task would run on.
    """
