"""Which tasks may be started, and by whom."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from celery import current_app

from .authorize import Run, allowed
from .exceptions import ProgressError
from .options import options_of

logger = logging.getLogger(__name__)


class NoSuchTask(ProgressError):
    """No task of this name may be started: mark it with ``@progress.options(runnable=True)``."""


def known_tasks() -> Mapping[str, Any]:
    """All tasks that Celery's autodiscovery finds, by name, though no page of the site has needed them yet.

    A module that cannot be imported here is told in the log, once; the tasks of the others are there.
    """
    _discover(current_app._get_current_object())
    found: Mapping[str, Any] = current_app.tasks
    return found


@lru_cache(maxsize=1)
def _discover(app: Any) -> None:
    # Only workers do so by themselves. Once: it looks for a file in each installed app.
    try:
        app.loader.import_default_modules()
    except Exception:  # what a worker needs may be missing here; that is no reason to show no page
        logger.exception("A module of tasks could not be imported; its tasks are not offered in the admin")


def runnable_tasks() -> dict[str, Any]:
    """The tasks that say they may be started by staff, by name, in alphabetical order."""
    tasks = known_tasks()
    return {name: tasks[name] for name in sorted(tasks) if options_of(name, tasks[name].run).runnable}


def runnable_task(name: str) -> Any:
    """The task `name`. Raises `NoSuchTask` for one that does not exist or does not say it is runnable."""
    found = runnable_tasks().get(name)
    if found is None:
        raise NoSuchTask(f"{name!r} is no task that may be started: mark it with @progress.options(runnable=True).")
    return found


def task_named(name: str) -> Any:
    """The task `name`, whatever it says. Raises `NoSuchTask`."""
    tasks = current_app.tasks if name in current_app.tasks else known_tasks()
    if name not in tasks:
        raise NoSuchTask(f"There is no task {name!r}. Is its module imported by Celery's autodiscovery?")
    return tasks[name]


def may_start(user: Any, task: Any) -> bool:
    """True if `user` may start this task, or tasks of this name.

    That takes staff with the right to start tasks, or a grant of ``PROGRESS_AUTHORIZE``; either way also the
    permission that the task names as its ``start_permission``. Says nothing of whether there is such a task, or
    whether it is declared runnable.
    """
    own, name = own_permission(task), task if isinstance(task, str) else task.name
    if not user.is_active or (own and not user.has_perm(own)):
        return False
    return allowed(user, "start", Run(name=name))


def own_permission(task: Any) -> str:
    """What whoever starts this task, or tasks of this name, needs besides our own permission; "" = nothing."""
    found = known_tasks().get(task) if isinstance(task, str) else task
    name = task if isinstance(task, str) else task.name
    return options_of(name, None if found is None else found.run).start_permission
