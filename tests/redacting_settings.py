"""The shipped settings, with a function that hides every error text; the rest is as without it."""

from typing import Any

from progress.redaction import HIDDEN, hide_secrets
from project.settings import *  # noqa: F403


def redact(task: str, what: Any, name: str, value: Any) -> Any:
    """Hide error texts, and what is hidden without a setting."""
    return HIDDEN if what == "error" else hide_secrets(task, what, name, value)


PROGRESS_REDACT = redact
