"""The table of `docs/admin-forms.md`: annotation → field → what is entered → what the task gets → what is refused."""

from __future__ import annotations

import datetime as dt
import enum
import uuid
from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any, Literal, NamedTuple

from django import forms
from django.contrib.auth.models import User

from progress import StoredFile
from progress.form_fields import ChoiceField, ChoicesField, LinesField, TextField, UnionField
from progress.model_fields import KeyField, KeysField


class Colour(enum.Enum):
    """Something to choose."""

    RED = "#f00"
    DEEP_BLUE = "#009"


class Row(NamedTuple):
    """What somebody enters stands there as the page would send it; ↵ is the end of a line, `None` means no value."""

    annotation: str
    field: str
    good: str
    arrives: str  # Python
    bad: str  # "" = nothing entered


KEY = "6f1c0e9a-7f0e-4f43-8d3c-0a4a2d0c9b11"
ROWS = [
    Row("str", "line of text", "Ann", "'Ann'", ""),
    Row("int", "number", "2", "2", "two"),
    Row("float", "number with a point", "0.5", "0.5", "nan"),
    Row("Decimal", "exact number", "9.90", "Decimal('9.90')", "cheap"),
    Row("bool", "box to tick", "on", "True", "—"),
    Row("date", "date", "2026-11-21", "date(2026, 11, 21)", "someday"),
    Row(
        "datetime",
        "date and time",
        "2026-11-21T10:30",
        "datetime(2026, 11, 21, 10, 30, tzinfo=UTC)",
        "2026-11-21T25:00",
    ),
    Row("time", "time", "10:30", "time(10, 30)", "noon"),
    Row("UUID", "UUID", KEY, f"UUID('{KEY}')", "6f1c"),
    Row("Colour", "choice", "RED", "'#f00'", "GREEN"),
    Row("Literal['full', 3]", "choice", "3", "3", "4"),
    Row("list[int]", "lines", "1↵2↵2", "[1, 2, 2]", "1↵two"),
    Row("tuple[date, ...]", "lines", "2026-11-21", "[date(2026, 11, 21)]", "21↵22"),
    Row("set[str]", "lines", "a↵b↵a", "['a', 'b']", ""),
    Row("list[Colour]", "boxes to tick", "RED", "['#f00']", "GREEN"),
    Row("int | None", "number", "", "None", "two"),
    Row("Optional[Colour]", "choice", "", "None", "GREEN"),
    Row("bool | None", "choice", "false", "False", "maybe"),
    Row("int | Literal['all']", "text of several kinds", "all", "'all'", "none"),
    Row("Annotated[int, 'in cents']", "number", "5", "5", "five"),
    Row("Annotated[str, StoredFile('imports')]", "file", "a.csv", "'imports/a.csv'", ""),
    Row("Annotated[int, User]", "object", "1", "1", "2"),
    Row("list[Annotated[int, User]]", "objects", "1", "[1]", "2"),
]
FIELDS: Mapping[str, type[forms.Field]] = {
    "line of text": TextField,
    "number": forms.IntegerField,
    "number with a point": forms.FloatField,
    "exact number": forms.DecimalField,
    "box to tick": forms.BooleanField,
    "date": forms.DateField,
    "date and time": forms.DateTimeField,
    "time": forms.TimeField,
    "UUID": forms.UUIDField,
    "choice": ChoiceField,
    "boxes to tick": ChoicesField,
    "lines": LinesField,
    "text of several kinds": UnionField,
    "file": forms.FileField,
    "object": KeyField,
    "objects": KeysField,
}
NAMES: dict[str, Any] = {
    **{each.__name__: each for each in (Colour, Decimal, StoredFile, User)},
    "UUID": uuid.UUID,
    "date": dt.date,
    "datetime": dt.datetime,
    "time": dt.time,
    "UTC": dt.UTC,
    "Annotated": Annotated,
    "Literal": Literal,
}
