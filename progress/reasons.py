"""Why a task ended that did not come to its own end, as permitted staff read it. Pure."""

from __future__ import annotations


class Reason(Exception):
    """Never raised: the docstring of each is the sentence that is shown, and its name is the type."""

    def __str__(self) -> str:
        """The reason, in a sentence."""
        return str(self.__doc__)


class Expired(Reason):
    """No worker took the task before it expired."""


class Interrupted(Reason):
    """Its worker was stopped while the task ran; nobody will run it again."""


class StepBefore(Reason):
    """A step before this one failed."""


class Terminated(Reason):
    """Its worker ended it by force, on request."""
