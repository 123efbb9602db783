"""The form field that fits a kind of argument. What its `clean` gives is what the task is sent."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from functools import partial
from typing import Any, Final
from uuid import UUID

from django import forms
from django.core.exceptions import ValidationError
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from .annotations import BOOLEANS, Argument, Kind
from .model_fields import model_field, said
from .redaction import looks_secret

EMPTY_CHOICE: Final = ("", "---------")
BOXES: Final = 12  # up to so many choices are shown as boxes to tick


class TextField(forms.CharField):
    """A text. Line ends are those that Python writes, not those that browsers send."""

    def to_python(self, value: Any) -> Any:
        """The text, stripped."""
        found = super().to_python(value)
        return found.replace("\r\n", "\n") if isinstance(found, str) else found


class BooleanWordField(forms.CharField):
    """True or False, as a word in a line."""

    def clean(self, value: Any) -> Any:
        """The value of a word."""
        word = super().clean(value)
        if word.lower() not in BOOLEANS:
            raise ValidationError(
                _("Write true or false, not “%(word)s”."), code="invalid", params={"word": word[:40]}
            )
        return BOOLEANS[word.lower()]

    def prepare_value(self, value: Any) -> Any:
        """The word for a value."""
        return str(value).lower() if isinstance(value, bool) else value


class ChoiceWordField(forms.CharField):
    """One of some values, by its name in a line."""

    def __init__(self, kind: Kind, **how: Any) -> None:
        super().__init__(**how)
        self.kind = kind

    def clean(self, value: Any) -> Any:
        """The value that has this name."""
        name, choices = super().clean(value), self.kind.choices or {}
        if name not in choices:
            raise ValidationError(
                _("Write one of %(names)s."), code="invalid", params={"names": gettext(", ").join(choices)}
            )
        return choices[name]

    def prepare_value(self, value: Any) -> Any:
        """The name of a value."""
        return self.kind.name_of(value) or value


class UnionField(forms.CharField):
    """A value of one of several types: of the first whose field, among `members`, takes what is written."""

    def __init__(self, members: Sequence[tuple[Kind, forms.Field]], **how: Any) -> None:
        super().__init__(**how)
        self.members = members

    def clean(self, value: Any) -> Any:
        """The value; None for nothing. Raises `ValidationError` with what each type says."""
        if value in self.empty_values:
            return super().clean(value)
        told: list[str] = []
        for _kind, field in self.members:
            try:
                return field.clean(value.strip())
            except ValidationError as error:
                told += error.messages
        raise ValidationError(list(dict.fromkeys(told)))

    def prepare_value(self, value: Any) -> Any:
        """As the field of the value's own type shows it."""
        for kind, field in self.members:
            if (kind.choices is not None and kind.name_of(value)) or type(value) is kind.base:
                return field.widget.format_value(field.prepare_value(value))
        return value


class BlankTextarea(forms.Textarea):
    """Several lines that are never shown again."""

    def format_value(self, value: Any) -> None:
        """Nothing."""


class LinesField(forms.Field):
    """A list: one value per line, each cleaned by `item`. Empty lines do not count."""

    widget = forms.Textarea

    def __init__(self, item: forms.Field, *, once: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.item, self.once = item, once
        self.widget.attrs["rows"] = 4

    def prepare_value(self, value: Any) -> Any:
        """A list as lines; what somebody has written, as it is."""
        if value is None or isinstance(value, str):
            return value
        # As its widget would show it, so that what is left alone reads back as the same.
        return "\n".join(str(self.item.widget.format_value(self.item.prepare_value(each))) for each in value)

    def clean(self, value: Any) -> list[Any]:
        """The values. Raises `ValidationError` that names the line."""
        found: list[Any] = []
        errors: list[ValidationError] = []
        for number, line in enumerate(_lines(value), 1):
            try:
                one = self.item.clean(line.strip()) if line.strip() else None
            except ValidationError as error:
                errors += [
                    ValidationError(_("Line %(number)s: %(message)s"), params={"number": number, "message": message})
                    for message in error.messages
                ]
                continue
            if one is not None and not (self.once and one in found):
                found.append(one)
        if errors:
            raise ValidationError(errors)
        if not found and self.required:
            raise ValidationError(self.error_messages["required"], code="required")
        return found

    def has_changed(self, initial: Any, data: Any) -> bool:
        """True if another list is written there."""
        shown = _lines(self.prepare_value(initial))
        return [line.strip() for line in shown if line.strip()] != [
            each.strip() for each in _lines(data) if each.strip()
        ]


def _lines(value: Any) -> list[str]:
    return str(value or "").replace("\r\n", "\n").split("\n")


class ChoiceField(forms.TypedChoiceField):
    """One of some values, chosen by name."""

    def __init__(self, kind: Kind, **kwargs: Any) -> None:
        offered = [(name, (kind.labels or {}).get(name, name)) for name in kind.choices or {}]
        if not kwargs["required"] or kwargs.get("initial") is None:
            offered = [EMPTY_CHOICE, *offered]
        super().__init__(choices=offered, coerce=partial(_chosen, kind), empty_value=None, **kwargs)

    def has_changed(self, initial: Any, data: Any) -> bool:
        """True if another name is chosen: 1 and True are equal, and not the same."""
        return str(initial or "") != str(data or "")


class ChoicesField(forms.TypedMultipleChoiceField):
    """Some of some values, chosen by name."""

    def __init__(self, kind: Kind, **kwargs: Any) -> None:
        offered = [(name, (kind.labels or {}).get(name, name)) for name in kind.choices or {}]
        widget = forms.CheckboxSelectMultiple if len(offered) <= BOXES else forms.SelectMultiple
        super().__init__(choices=offered, coerce=partial(_chosen, kind), empty_value=[], widget=widget, **kwargs)

    def has_changed(self, initial: Any, data: Any) -> bool:
        """True if other names are chosen."""
        return sorted(initial or []) != sorted(data or [])


def _chosen(kind: Kind, name: str) -> Any:
    return (kind.choices or {})[name]


def _picker(
    widget: type[forms.DateInput | forms.DateTimeInput | forms.TimeInput], kind: str, written: str
) -> forms.Widget:
    # The browser's own, which needs no script. It speaks ISO 8601, whatever the language of the page.
    attrs = {"type": kind} if kind == "date" else {"type": kind, "step": "1"}
    return widget(attrs=attrs, format=written)


_SIMPLE: Final[Mapping[Any, Callable[..., forms.Field]]] = {
    str: TextField,
    int: forms.IntegerField,
    float: forms.FloatField,
    Decimal: forms.DecimalField,
    UUID: forms.UUIDField,
    dt.date: lambda **how: forms.DateField(widget=_picker(forms.DateInput, "date", "%Y-%m-%d"), **how),
    dt.datetime: lambda **how: forms.DateTimeField(
        widget=_picker(forms.DateTimeInput, "datetime-local", "%Y-%m-%dT%H:%M:%S"), **how
    ),
    dt.time: lambda **how: forms.TimeField(widget=_picker(forms.TimeInput, "time", "%H:%M:%S"), **how),
}


def _yes_or_no() -> Kind:
    return Kind(choices={"true": True, "false": False}, labels={"true": gettext("Yes"), "false": gettext("No")})


def field_for(argument: Argument, kind: Kind, initial: Any, *, asked: bool, place: Any) -> forms.Field:
    """A field for `argument`. `initial`: its value, or None. `asked`: it must be filled in, default or not.

    `place` is the `Place` that the form is for; it decides what is offered of models. A value whose argument has a
    secret-looking name is written unseen, and never shown.
    """
    secret = looks_secret(argument.name)
    field = _field(argument, kind, None if secret else initial, asked, place)
    if secret and isinstance(field.widget, forms.Textarea):
        field.widget = BlankTextarea(attrs=field.widget.attrs)
    elif (
        secret
        and isinstance(field.widget, forms.widgets.Input)
        and field.widget.input_type not in ("checkbox", "file")
    ):
        field.widget = forms.PasswordInput(attrs={"autocomplete": "new-password"})
    if secret and isinstance(field, forms.CharField):
        field.strip = False
    return field


def _field(argument: Argument, kind: Kind, initial: Any, asked: bool, place: Any) -> forms.Field:
    how: dict[str, Any] = {
        "required": asked or not (argument.has_default or kind.optional),
        "label": argument.name.replace("_", " ").strip().capitalize(),
        "help_text": said(argument.help),
    }
    if kind.model is not None:
        return model_field(kind, place, initial=initial, **how)
    if kind.file is not None:
        return _file_field(initial, how)
    if kind.many:
        return _many_field(kind, initial, how)
    if kind.base is bool and kind.choices is None and not kind.members:
        if not (asked or kind.optional):
            return forms.BooleanField(**{**how, "required": False, "initial": bool(initial)})
        kind = _yes_or_no()
    if kind.choices is not None:
        return ChoiceField(kind, initial=kind.name_of(initial), **how)
    field = _one(kind, initial=initial, **how)
    if isinstance(initial, str) and "\n" in initial:
        field.widget = forms.Textarea(attrs={"rows": 4})
    return field


def _one(kind: Kind, **how: Any) -> forms.Field:
    """A field for one value that is written, on a line of its own or among others."""
    if kind.members:
        return UnionField([(each, _one(each)) for each in kind.members], **how)
    if kind.choices is not None:
        return ChoiceWordField(kind, **how)
    return BooleanWordField(**how) if kind.base is bool else _SIMPLE[kind.base](**how)


def _many_field(kind: Kind, initial: Any, how: dict[str, Any]) -> forms.Field:
    values: Sequence[Any] = list(initial) if isinstance(initial, (list, tuple, set, frozenset)) else []
    if kind.choices is not None:
        named = [name for name in map(kind.name_of, values) if name is not None]
        return ChoicesField(kind, initial=named, **how)
    how["help_text"] = said(how["help_text"], _("One per line."))
    return LinesField(_one(kind), once=kind.once, initial=values or None, **how)


def _file_field(initial: Any, how: dict[str, Any]) -> forms.Field:
    if not initial:
        return forms.FileField(max_length=100, **how)
    how["help_text"] = said(how["help_text"], _("Without another one:"), initial)
    return forms.FileField(max_length=100, widget=forms.FileInput, initial=str(initial), **how)
