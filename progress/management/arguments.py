"""``key=value`` from a command line, as the arguments of a task. Every error says what to write instead."""

from __future__ import annotations

import datetime as dt
import enum
import inspect
import json
import types
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any, Final, Literal, Union, get_args, get_origin, get_type_hints
from uuid import UUID

_BOOLEANS: Final = {
    **dict.fromkeys(("true", "yes", "on", "1"), True),
    **dict.fromkeys(("false", "no", "off", "0"), False),
}


class WrongArgument(ValueError):
    """An argument does not fit the task's signature."""


def arguments_of(function: Callable[..., Any], pairs: Sequence[str]) -> dict[str, Any]:
    """The keyword arguments that `pairs` (``key=value``) mean to `function`, by its type hints.

    Raises `WrongArgument` for an unknown, missing or doubled argument and for a value that does not fit.
    """
    signature, hints = inspect.signature(function), _hints(function)
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in signature.parameters.values())
    known = [
        name
        for name, parameter in signature.parameters.items()
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    ]
    given: dict[str, Any] = {}
    for pair in pairs:
        name, sign, text = pair.partition("=")
        if not sign or not name.isidentifier():
            raise WrongArgument(f"Expected key=value, got {pair!r}.")
        if name in given:
            raise WrongArgument(f"{name} is given twice.")
        if name not in known and not takes_any:
            raise WrongArgument(f"The task has no argument {name!r}; it takes: {', '.join(known) or 'none'}.")
        try:
            given[name] = converted(text, hints.get(name, Any))
        except (ValueError, InvalidOperation):
            raise WrongArgument(f"{name} must be {_described(hints[name])}, got {text!r}.") from None
    if missing := [name for name in known if name not in given and _required(signature.parameters[name])]:
        raise WrongArgument(f"The task also needs: {' '.join(f'{name}=…' for name in missing)}")
    return given


def converted(text: str, hint: Any) -> Any:
    """`text` as a value of the type `hint`. Raises `ValueError` when it is none."""
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        return _first_that_fits(text, get_args(hint))
    if origin is Literal:
        return _one_of(text, {str(value): value for value in get_args(hint)})
    if inspect.isclass(hint) and issubclass(hint, enum.Enum):
        return _one_of(text, {member.name: member.value for member in hint})
    if hint is bool:
        return _one_of(text.lower(), _BOOLEANS)
    if hint is type(None):
        return _one_of(text.lower(), {"": None, "none": None, "null": None})
    if hint in _CONVERTERS:
        return _CONVERTERS[hint](text)
    if hint is Any:
        # No hint: numbers, true, false, null and JSON are taken as such, the rest is text.
        try:
            return json.loads(text)
        except ValueError:
            return text
    if (origin or hint) in (list, tuple, set, frozenset, dict, Sequence, Mapping):
        return json.loads(text)
    raise ValueError(text)


_CONVERTERS: Final[dict[Any, Callable[[str], Any]]] = {
    str: str,
    int: int,
    float: float,
    Decimal: Decimal,
    UUID: UUID,
    dt.date: dt.date.fromisoformat,
    dt.datetime: dt.datetime.fromisoformat,
    dt.time: dt.time.fromisoformat,
}


def _first_that_fits(text: str, hints: Sequence[Any]) -> Any:
    # `str` fits everything and None fits "", so they are tried last and first.
    for hint in sorted(hints, key=lambda hint: (hint is str) - (hint is type(None))):
        try:
            return converted(text, hint)
        except (ValueError, InvalidOperation):
            continue
    raise ValueError(text)


def _one_of(text: str, choices: Mapping[str, Any]) -> Any:
    if text not in choices:
        raise ValueError(text)
    return choices[text]


def _required(parameter: inspect.Parameter) -> bool:
    return parameter.default is parameter.empty


def _described(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return f"one of {', '.join(map(str, get_args(hint)))}"
    if inspect.isclass(hint) and issubclass(hint, enum.Enum):
        return f"one of {', '.join(member.name for member in hint)}"
    return inspect.formatannotation(hint)


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    try:
        return get_type_hints(function)
    except (NameError, TypeError):  # a hint that exists for type checkers only
        return {}
