"""What a row of an import means: a customer, or the reasons why it is none.

Columns, in any order, upper or lower case: ``name`` (needed), ``email``, ``orders``, ``since``. Any of the
last three may be missing from the file; where ``email`` is there, every row needs a valid address. Other
columns are ignored, and the import's page names them.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Sequence
from typing import Any, Final

from django.core.exceptions import ValidationError
from django.core.validators import validate_email

from .csv_rows import Row
from .refusals import Refused

COLUMNS: Final = ("name", "email", "orders", "since")
REQUIRED: Final = ("name",)
NAME_CHARACTERS: Final = 200
ORDERS_MAX: Final = 2_147_483_647  # what every database keeps in an integer column
_SHOWN: Final = 40  # characters of a wrong value that its reason quotes


class Columns:
    """Where each column of a file is, by its header."""

    def __init__(self, header: Row) -> None:
        """Raises `Refused` when the header is missing, names a column twice, or lacks one that is needed."""
        names = [name.strip() for name in header.fields]
        while names and not names[-1]:
            names.pop()  # spreadsheets like to end lines in a few empty cells
        folded = [name.casefold() for name in names]
        twice = sorted({name for name in folded if name and folded.count(name) > 1})
        if twice:
            raise Refused(f"The header names {_quoted(twice)} more than once. Give each column its own name.")
        missing = [name for name in REQUIRED if name not in folded]
        if missing and not set(folded) & set(COLUMNS) and any(map(_looks_like_data, names)):
            raise Refused(
                f"The header is missing: line {header.line:,} already looks like data. "
                f"Put a first line such as {','.join(COLUMNS)} above it."
            )
        if missing:
            raise Refused(
                f"The column {_quoted(missing)} is missing. The header in line {header.line:,} has "
                f"{_quoted(names)}; those that count are {_quoted(COLUMNS)}."
            )
        self._width = len(names)
        self._place = {name: folded.index(name) for name in COLUMNS if name in folded}
        self.ignored = [name for name in names if name and name.casefold() not in COLUMNS]

    def read(self, row: Row) -> dict[str, Any]:
        """The customer in `row`, ready for the model. Raises `ValueError` with all reasons why not."""
        if row.problem:
            raise ValueError(row.problem)
        if any(value.strip() for value in row.fields[self._width :]):
            raise ValueError(f"has {len(row.fields)} fields, but the header has {self._width}")
        values: dict[str, Any] = {}
        reasons = []
        for name, place in self._place.items():
            text = row.fields[place].strip() if place < len(row.fields) else ""
            try:
                values[name] = _READ[name](text)
            except ValueError as reason:
                reasons.append(str(reason))
        if reasons:
            raise ValueError("; ".join(reasons))
        return values


def _name(text: str) -> str:
    if not text:
        raise ValueError("name is missing")
    if len(text) > NAME_CHARACTERS:
        raise ValueError(f"name has {len(text):,} characters, at most {NAME_CHARACTERS} fit")
    return text


def _email(text: str) -> str:
    if not text:
        raise ValueError("email is missing")
    try:
        validate_email(text)
    except ValidationError:
        raise ValueError(f"email {_shown(text)} is not an address") from None
    return text


def _orders(text: str) -> int | None:
    if not text:
        return None
    if not re.fullmatch(r"\+?[0-9]{1,15}", text):
        raise ValueError(f"orders {_shown(text)} is not a whole number of 0 or more")
    if (number := int(text)) > ORDERS_MAX:
        raise ValueError(f"orders {_shown(text)} is more than {ORDERS_MAX:,}")
    return number


def _since(text: str) -> dt.date | None:
    if not text:
        return None
    try:
        if not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text):
            raise ValueError
        return dt.date.fromisoformat(text)
    except ValueError:
        raise ValueError(f"since {_shown(text)} is not a date like 2026-11-20") from None


_READ: Final[dict[str, Callable[[str], Any]]] = {
    "name": _name,
    "email": _email,
    "orders": _orders,
    "since": _since,
}


def _looks_like_data(text: str) -> bool:
    return "@" in text or bool(re.fullmatch(r"[-+]?[0-9][0-9.,:/ -]*", text))


def _shown(text: str) -> str:
    return f"“{text if len(text) <= _SHOWN else text[: _SHOWN - 1] + '…'}”"


def _quoted(names: Sequence[str]) -> str:
    shown = ", ".join(_shown(name) for name in names[:5])
    return shown + (f" and {len(names) - 5} more" if len(names) > 5 else "")
