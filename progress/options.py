"""What a task says about itself: `@progress.options(…)`, or `PROGRESS_TASKS` for tasks of other people."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Any, TypeVar

from django.core.signals import setting_changed

from .conf import conf
from .exceptions import ProgressError

F = TypeVar("F", bound=Callable[..., Any])

ATTRIBUTE = "__progress_options__"


@dataclass(frozen=True, slots=True)
class Options:
    """How a task is tracked and what of it is shown."""

    title: str = ""  # may name arguments: "Import {file}"
    unit: str = ""
    track: bool = True
    cancellable: bool = True
    show_error: bool = False  # type and text of its exception, to everybody who may watch
    show_result: bool = False  # its return value, likewise
    runnable: bool = False  # staff may start it from the admin and the command line

    def titled(self, function: Callable[..., Any] | None, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
        """The title with the arguments filled in; as it stands where that does not work."""
        if "{" not in self.title or function is None:
            return self.title
        try:
            bound = inspect.signature(function).bind(*args, **kwargs)
            bound.apply_defaults()
            return self.title.format(**bound.arguments)
        except Exception:  # noqa: BLE001 (arguments format themselves; a title is not worth a task)
            return self.title


NAMES = frozenset(field.name for field in fields(Options))


def options(**chosen: Any) -> Callable[[F], F]:
    """Say how a task is tracked; applied below Celery's decorator.

        @shared_task
        @progress.options(title="Import {file}", unit="rows", runnable=True)
        def import_rows(file): ...

    Takes the fields of `Options`. Raises `ProgressError` for any other name, and above Celery's decorator.
    """
    _check(chosen, "@progress.options")

    def mark(function: F) -> F:
        if hasattr(function, "apply_async"):
            raise ProgressError(
                "@progress.options was applied to a task, expected a function: write it below Celery's decorator."
            )
        setattr(function, ATTRIBUTE, dict(chosen))
        return function

    return mark


def options_of(name: str, function: Callable[..., Any] | None) -> Options:
    """The options of the task `name`: its own, over those of the globs in `PROGRESS_TASKS` that fit it."""
    own: Mapping[str, Any] = getattr(function, ATTRIBUTE, {})
    return _merged(name, tuple(sorted(own.items())))


@lru_cache(maxsize=1024)
def _merged(name: str, own: tuple[tuple[str, Any], ...]) -> Options:
    chosen: dict[str, Any] = {}
    for pattern, values in conf.PROGRESS_TASKS.items():
        if fnmatchcase(name, pattern):
            _check(values, f"PROGRESS_TASKS[{pattern!r}]")
            chosen.update(values)
    tracked = _fits(name, conf.PROGRESS_TRACK) and not _fits(name, [*conf.PROGRESS_IGNORE, "celery.*"])
    merged = Options(**{**chosen, **dict(own)})
    return merged if tracked else Options(track=False)


def _fits(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _check(chosen: Mapping[str, Any], where: str) -> None:
    if unknown := sorted(set(chosen) - NAMES):
        raise ProgressError(f"{where} takes {', '.join(sorted(NAMES))}; got {', '.join(unknown)}.")


def _forget(*, setting: str, **_kwargs: Any) -> None:
    if setting.startswith("PROGRESS_"):
        _merged.cache_clear()


setting_changed.connect(_forget, dispatch_uid="progress.options")
