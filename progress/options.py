"""What a task says about itself: `@progress.options(…)`, or `PROGRESS_TASKS` for tasks of other people."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from fnmatch import fnmatchcase
from functools import lru_cache
from string import Formatter
from typing import Any, Final, TypeVar

from django.core.signals import setting_changed

from .conf import conf
from .exceptions import ProgressError
from .redaction import redact

F = TypeVar("F", bound=Callable[..., Any])

ATTRIBUTE = "__progress_options__"
_PERMISSION: Final = re.compile(r"\w+\.[^\s.]+")  # app label and codename
LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


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
    start_permission: str = ""  # what they need for that besides task_progress.start_taskrun: "shop.add_order"
    weight: float = 1  # how much it counts among its siblings, 0.001 … 1 000 000
    stall_after: float | None = None  # s without a sign of life after which pages say so; None = they decide
    history: bool = True  # its runs are kept in the table of runs
    store_arguments: bool = True  # with what they were called with, as far as that is not hidden
    capture_logs: str = ""  # level from which what its logger says goes into its log, too; "" = nothing does

    def titled(
        self, function: Callable[..., Any] | None, args: Sequence[Any], kwargs: Mapping[str, Any], task: str = ""
    ) -> str:
        """The title with the arguments filled in; as it stands where that does not work.

        What `redaction` hides of the task of that name is not in it.
        """
        if "{" not in self.title or function is None:
            return self.title
        try:
            bound = inspect.signature(function).bind(*args, **kwargs)
            bound.apply_defaults()
            used = {re.split(r"[.\[]", field)[0] for _, field, _, _ in Formatter().parse(self.title) if field}
            shown = {name: redact(task, "argument", name, bound.arguments[name]) for name in used}
            return self.title.format(**shown)
        except Exception:  # noqa: BLE001 (arguments format themselves; a title is not worth a task)
            return self.title


NAMES = frozenset(field.name for field in fields(Options))


def options(**chosen: Any) -> Callable[[F], F]:
    """Say how a task is tracked; applied below Celery's decorator.

        @shared_task
        @progress.options(title="Import {file}", unit="rows", runnable=True)
        def import_rows(file): ...

    Takes the fields of `Options`. Raises `ProgressError` for any other name, for a value of another kind or out of
    range, and above Celery's decorator.
    """
    check(chosen, "@progress.options")

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
            check(values, f"PROGRESS_TASKS[{pattern!r}]")
            chosen.update(values)
    tracked = _fits(name, conf.PROGRESS_TRACK) and not _fits(name, [*conf.PROGRESS_IGNORE, "celery.*"])
    merged = Options(**{**chosen, **dict(own)})
    return merged if tracked else Options(track=False)


def _fits(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def check(chosen: Any, where: str) -> None:
    """Raise `ProgressError` unless `chosen` maps options to values that they can have. `where` is named in it."""
    if not isinstance(chosen, Mapping):
        raise ProgressError(
            f"{where} must map options to values, got {type(chosen).__name__}: write {{'unit': 'rows'}}."
        )
    if unknown := sorted(str(name) for name in chosen if name not in NAMES):
        raise ProgressError(f"{where} takes {', '.join(sorted(NAMES))}; got {', '.join(unknown)}.")
    for name, value in chosen.items():
        expected, fits = _FORMS[name]
        if not fits(value):
            raise ProgressError(f"{where}: {name} must be {expected}, got {value!r}.")


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_permission(value: Any) -> bool:
    return isinstance(value, str) and (not value or _PERMISSION.fullmatch(value) is not None)


def _is_bool(value: Any) -> bool:
    return isinstance(value, bool)


def _is_between(low: float, high: float) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, (int, float)) and not isinstance(value, bool) and low <= value <= high


# What each option takes, in words and as a test.
_FORMS: Final[dict[str, tuple[str, Callable[[Any], bool]]]] = {
    "title": ("a text", _is_text),
    "unit": ("a text", _is_text),
    **dict.fromkeys(
        ("track", "cancellable", "show_error", "show_result", "runnable", "history", "store_arguments"),
        ("True or False", _is_bool),
    ),
    "start_permission": ("a Django permission like 'shop.add_order', or ''", _is_permission),
    "weight": ("a number from 0.001 to 1000000", _is_between(0.001, 1_000_000)),
    "stall_after": (
        "a number of seconds from 1 to 604800 (a week), or None",
        lambda value: value is None or _is_between(1, 7 * 24 * 3600)(value),
    ),
    "capture_logs": (
        f"one of {', '.join(map(repr, LEVELS))}, or ''",
        lambda value: value == "" or value in LEVELS,
    ),
}


def _forget(*, setting: str, **_kwargs: Any) -> None:
    if setting.startswith("PROGRESS_"):
        _merged.cache_clear()


setting_changed.connect(_forget, dispatch_uid="progress.options")
