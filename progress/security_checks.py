"""Settings that open a door: limits, and what a worker unpacks. `docs/security.md` says what each is about."""

from __future__ import annotations

from inspect import iscoroutinefunction
from typing import Any, Final

from django.core.checks import CheckMessage, Error, Warning, register  # noqa: A004 (Django's own name)

from .conf import conf
from .exceptions import ProgressError

LIMITS: Final = (
    "PROGRESS_MAX_CONNECTIONS",
    "PROGRESS_MAX_CONNECTIONS_PER_ADDRESS",
    "PROGRESS_MAX_JOINS",
    "PROGRESS_MAX_WATCHES",
)
PICKLE: Final = frozenset({"pickle", "application/x-python-serialize"})
UNPACKING: Final = ("accept_content", "result_accept_content", "task_serializer", "result_serializer")


@register("progress")
def check_limits(**_kwargs: Any) -> list[CheckMessage]:
    """A limit is a whole number; what cannot be read at all is another check's."""
    found: list[CheckMessage] = []
    for name in LIMITS:
        try:
            if getattr(conf, name) >= 0:
                continue
        except (ProgressError, TypeError, ValueError):
            continue
        found.append(Error(f"{name} must not be less than 0.", hint="0 is no limit.", id="task_progress.E020"))
    return found


@register("progress")
def check_authorize(**_kwargs: Any) -> list[CheckMessage]:
    """An async function would be taken for one that says no: what it returns is not True."""
    try:
        function = conf.PROGRESS_AUTHORIZE
    except (ProgressError, ImportError):
        return []  # another check's
    if not iscoroutinefunction(function):
        return []
    hint = "Make it a plain function; it runs in a thread and may ask the database."
    return [Error("PROGRESS_AUTHORIZE is async, so it grants nothing.", hint=hint, id="task_progress.E024")]


@register("progress")
def check_pickle(**_kwargs: Any) -> list[CheckMessage]:
    """With pickle, whoever can write to the broker or the result backend can run code in workers and in the site."""
    from celery import current_app

    asked = {name: current_app.conf.get(name) for name in UNPACKING}
    wrong = [
        name for name, value in asked.items() if PICKLE & set([value] if isinstance(value, str) else value or ())
    ]
    return [
        Warning(
            f"Celery's {name} has pickle: whoever reaches the broker can run code in every worker.",
            hint="Use 'json', Celery's default.",
            id="task_progress.W021",
        )
        for name in wrong
    ]
