"""What a task was called with, as far as the history may keep it: small, as JSON, without what is hidden."""

from __future__ import annotations

import datetime as dt
import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from enum import Enum
from functools import lru_cache
from typing import Any, Final, TypedDict
from uuid import UUID

from .redaction import HIDDEN, redact

VALUE_BYTES: Final = 2_000  # of JSON, of one argument; a larger one is left out
ALL_BYTES: Final = 8_000
MAX_ITEMS: Final = 500  # of containers in an argument: to look through more would cost the sender too much


class Arguments(TypedDict):
    """The arguments of a call by name: those that are kept, and the names of the others."""

    given: dict[str, Any]
    hidden: list[str]  # `redact` said so
    left_out: list[str]  # too large, or nothing that JSON can say


def kept(task: str, function: Callable[..., Any] | None, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
    """The arguments as JSON (`Arguments`); "" if they cannot be taken apart.

    Positional ones get their names from the signature of `function`. Where this process does not know it they are
    left out, as "0", "1", …: nobody can tell whether one is a secret. Dates, decimals and the like are kept as text.
    """
    found = Arguments(given={}, hidden=[], left_out=[])
    size = 0
    for name, value in _by_name(function, args, kwargs).items():
        if name.isdecimal() or not _is_small(value):
            found["left_out"].append(name)
            continue
        shown = redact(task, "argument", name, value)
        if shown is HIDDEN:
            found["hidden"].append(name)
            continue
        try:
            text = json.dumps(shown, default=_plain, allow_nan=False, ensure_ascii=False)
            text.encode()  # half a surrogate is nothing that a database keeps
        except (TypeError, ValueError, RecursionError):
            text = ""
        size += len(text)
        # PostgreSQL keeps no NUL, not even an escaped one.
        if not text or len(text) > VALUE_BYTES or size > ALL_BYTES or "\\u0000" in text:
            found["left_out"].append(name)
        else:
            found["given"][name] = json.loads(text)
    return json.dumps(found, separators=(",", ":"))


def _by_name(function: Callable[..., Any] | None, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    if function is not None:
        try:
            signature = _signature(function)
            bound = signature.bind_partial(*args, **kwargs).arguments
        except (TypeError, ValueError):  # the task will say so itself
            return {**{str(place): value for place, value in enumerate(args)}, **kwargs}
        named: dict[str, Any] = {}
        for name, value in bound.items():
            if signature.parameters[name].kind is inspect.Parameter.VAR_KEYWORD:
                named.update(value)
            else:
                named[name] = list(value) if isinstance(value, tuple) else value
        return named
    return {**{str(place): value for place, value in enumerate(args)}, **kwargs}


@lru_cache(maxsize=1024)
def _signature(function: Callable[..., Any]) -> inspect.Signature:
    return inspect.signature(function)


def _is_small(value: Any) -> bool:
    """True if it may be looked through: sending must not become slow because of an argument."""
    todo, seen = [value], 0
    while todo:
        each = todo.pop()
        if isinstance(each, (str, bytes)) and len(each) > VALUE_BYTES:
            return False
        if isinstance(each, (Mapping, list, tuple, set, frozenset)):
            seen += len(each)
            if seen > MAX_ITEMS:
                return False
            todo += [*each.keys(), *each.values()] if isinstance(each, Mapping) else each
    return True


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, (dt.date, dt.time)):
        return value.isoformat()
    if isinstance(value, (Decimal, UUID)):
        return str(value)
    if isinstance(value, (set, frozenset)):
        return sorted(value, key=str)
    raise TypeError(f"{type(value).__name__} is nothing that JSON can say")
