"""A form for a task, from its signature: what staff fill in to start it."""

from __future__ import annotations

import datetime as dt
import inspect
import types
import typing
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from celery import current_app
from django import forms

from .exceptions import ProgressError
from .options import options_of

# Annotation → form field. `bool` is last resort of nobody: it is looked up by identity, so int never takes it.
FIELDS: Final[Mapping[Any, type[forms.Field]]] = {
    str: forms.CharField,
    int: forms.IntegerField,
    float: forms.FloatField,
    bool: forms.BooleanField,
    Decimal: forms.DecimalField,
    dt.date: forms.DateField,
    dt.datetime: forms.DateTimeField,
}
# What JSON cannot carry travels as text; the annotation says what the task makes of it.
AS_TEXT: Final = (Decimal, dt.date, dt.datetime)


class NoSuchTask(ProgressError):
    """No task of this name may be started: mark it with ``@progress.options(runnable=True)``."""


class NoForm(ProgressError):
    """The task has an argument that no form field fits: annotate it with a simple type or give it a default."""


def runnable_tasks() -> dict[str, Any]:
    """The tasks that say they may be started by staff, by name, in alphabetical order."""
    tasks = current_app.tasks
    return {name: tasks[name] for name in sorted(tasks) if options_of(name, tasks[name].run).runnable}


def runnable_task(name: str) -> Any:
    """The task `name`. Raises `NoSuchTask` for one that does not exist or does not say it is runnable."""
    found = runnable_tasks().get(name)
    if found is None:
        raise NoSuchTask(f"{name!r} is no task that may be started: mark it with @progress.options(runnable=True).")
    return found


def form_for(task: Any) -> type[forms.Form]:
    """A form with one field per argument of `task`. Raises `NoForm` for an argument that no field fits.

    Annotations may be str, int, float, bool, Decimal, date, datetime, each also ``| None``. An argument without
    annotation takes the type of its default, else text. ``cleaned_data`` holds what can be sent to the task.
    """
    hints = typing.get_type_hints(inspect.unwrap(task.run))
    fields: dict[str, Any] = {}
    for parameter in inspect.signature(task.run).parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        fields[parameter.name] = _field(task.name, parameter, hints.get(parameter.name))
    return type("TaskForm", (_TaskForm,), fields)


class _TaskForm(forms.Form):
    def clean(self) -> dict[str, Any]:
        """Values as the task's message can carry them; what was left empty and has a default is not sent."""
        values = super().clean() or {}
        kept = {}
        for name, value in values.items():
            field = self.fields[name]
            if value in (None, "") and not field.required and not getattr(field, "empty_means_none", False):
                continue
            kept[name] = str(value) if isinstance(value, AS_TEXT) else value
        return kept


def _field(task: str, parameter: inspect.Parameter, annotation: Any) -> forms.Field:
    has_default = parameter.default is not parameter.empty
    default = parameter.default if has_default else None
    kind, optional = _without_none(annotation)
    if kind is None:
        kind = type(default) if type(default) in FIELDS else str
    if kind not in FIELDS:
        if has_default:
            kind = None
        else:
            raise NoForm(
                f"{task}: no form field fits the argument {parameter.name}: {annotation!r}. "
                f"Use one of {', '.join(known.__name__ for known in FIELDS)}, or give it a default."
            )
    required = not has_default and not optional and kind is not bool
    label = parameter.name.replace("_", " ").capitalize()
    if kind is None:  # it keeps its default
        return forms.CharField(required=False, disabled=True, label=label, help_text=f"always {default!r}")
    field = FIELDS[kind](required=required, initial=default, label=label)
    field.empty_means_none = optional and not has_default  # type: ignore[attr-defined]
    return field


def _without_none(annotation: Any) -> tuple[Any, bool]:
    """`annotation` without ``| None``, and whether it had one."""
    if typing.get_origin(annotation) not in (typing.Union, types.UnionType):
        return annotation, False
    others = [kind for kind in typing.get_args(annotation) if kind is not type(None)]
    return (others[0] if len(others) == 1 else annotation), len(others) < len(typing.get_args(annotation))
