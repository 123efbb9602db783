"""``key=value`` from a command line, as the arguments of a task. Every error says what to write instead."""

from __future__ import annotations

import inspect
import json
import types
from collections.abc import Callable, Mapping, Sequence
from decimal import InvalidOperation
from typing import Annotated, Any, Union, get_args, get_origin

from progress.annotations import BOOLEANS, MANY, READERS, choices_of, hints_of


class WrongArgument(ValueError):
    """An argument does not fit the task's signature."""


def arguments_of(function: Callable[..., Any], pairs: Sequence[str]) -> dict[str, Any]:
    """The keyword arguments that `pairs` (``key=value``) mean to `function`, by its type hints.

    Raises `WrongArgument` for an unknown, missing or doubled argument and for a value that does not fit.
    """
    signature, hints = inspect.signature(function), hints_of(function)
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
    if origin is Annotated:
        return converted(text, get_args(hint)[0])
    if origin in (Union, types.UnionType):
        return _first_that_fits(text, get_args(hint))
    if (choices := choices_of(hint)) is not None:
        return _one_of(text, choices)
    if hint is bool:
        return _one_of(text.lower(), BOOLEANS)
    if hint is type(None):
        return _one_of(text.lower(), {"": None, "none": None, "null": None})
    if hint in READERS:
        return READERS[hint](text)
    if hint is Any:
        # No hint: numbers, true, false, null and JSON are taken as such, the rest is text.
        try:
            return json.loads(text)
        except ValueError:
            return text
    if (origin or hint) in (*MANY, dict, Mapping):
        return json.loads(text)
    raise ValueError(text)


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
    hint = get_args(hint)[0] if get_origin(hint) is Annotated else hint
    choices = choices_of(hint)
    return inspect.formatannotation(hint) if choices is None else f"one of {', '.join(choices)}"
