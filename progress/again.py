"""A call that was made before: from what the history kept of its arguments to what the task is started with again."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from contextlib import suppress
from decimal import Decimal
from typing import Any

from django.utils.translation import gettext

from .annotations import READERS, Kind, Unfit, declared
from .exceptions import ProgressError


class NotAgain(ProgressError):
    """The task cannot be started again as it was called. `why` says so in a few words, without any value."""

    def __init__(self, task: str, why: str) -> None:
        super().__init__(f"{task}: {why}. Start it by its form.")
        self.why = why


def arguments_again(task: Any, kept: Mapping[str, Any] | None) -> dict[str, Any]:
    """What starts `task` as it was called, without a form, from what a run `kept` (`progress.arguments.Arguments`).

    Dates and the like, kept as text, are what the task's annotations say. Raises `NotAgain` if not all was kept, or
    if the task takes other arguments now. It names arguments, no values: they are not for everybody's eyes.
    """
    if kept is None:
        raise NotAgain(task.name, gettext("its arguments are not known"))
    if missing := [*(kept.get("hidden") or ()), *(kept.get("left_out") or ())]:
        raise NotAgain(task.name, gettext("%(names)s was not kept") % {"names": gettext(", ").join(missing)})
    parameters, known = inspect.signature(task.run).parameters, declared(task.run)
    found: dict[str, Any] = {}
    for counted, value in (kept.get("given") or {}).items():
        name = name_of(parameters, counted)
        if not takes(parameters, name):
            raise NotAgain(task.name, gettext("it takes no argument %(name)s by now") % {"name": name})
        found[name] = value
        try:
            if name in known:
                found[name] = from_json(known[name].kind, value)
        except Unfit:  # nothing is known of it: it is what JSON made of it
            continue
        except (ValueError, TypeError, ArithmeticError):
            raise NotAgain(task.name, gettext("%(name)s must be of another type by now") % {"name": name}) from None
    if needed := [name for name, each in known.items() if not each.has_default and name not in found]:
        raise NotAgain(task.name, gettext("it also needs %(names)s by now") % {"names": gettext(", ").join(needed)})
    return found


def from_json(kind: Kind, value: Any) -> Any:
    """A value as the history keeps it (dates and the like as text), as a message had it.

    Raises `ValueError`, `TypeError` or `ArithmeticError` when it is of another kind.
    """
    if value is None and kind.optional:
        return None
    try:
        if kind.many:
            return [_one_from_json(kind, each) for each in _as_list(value)]
        return _one_from_json(kind, value)
    except (ValueError, TypeError, ArithmeticError):
        if kind.free:
            return value
        raise


def _one_from_json(kind: Kind, value: Any) -> Any:
    for member in kind.members:
        with suppress(ValueError, TypeError, ArithmeticError):
            return _one_from_json(member, value)
    if kind.members:
        raise ValueError(value)
    if kind.choices is not None:
        if kind.name_of(value) is None:
            raise ValueError(value)
        return value
    if kind.base in (str, bool, int, float):
        if not isinstance(value, (int, float) if kind.base is float else kind.base):
            raise TypeError(value)
        return value
    if kind.base is Decimal and type(value) in (int, float):  # not every caller is exact
        value = str(value)
    if not isinstance(value, str):
        raise TypeError(value)
    reader: Callable[[str], Any] = READERS[kind.base]
    return reader(value)


def _as_list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError(value)
    return value


def name_of(parameters: Mapping[str, inspect.Parameter], name: str) -> str:
    """The name of an argument, though whoever sent it did not know the signature, and counted: "0", "1"."""
    names = list(parameters)
    return names[int(name)] if name.isdecimal() and int(name) < len(names) else name


def takes(parameters: Mapping[str, inspect.Parameter], name: str) -> bool:
    """True if a call may name this argument."""
    return name in parameters or any(each.kind is each.VAR_KEYWORD for each in parameters.values())
