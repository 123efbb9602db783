"""A form for a task, from its signature: what staff fill in to start it."""

from __future__ import annotations

import inspect
import json
from collections.abc import Collection, Iterator, Mapping
from typing import Any, ClassVar, Final

from django import forms
from django.forms.boundfield import BoundField
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from .again import from_json, name_of, takes
from .annotations import Argument, Kind, Unfit, declared
from .docstrings import summary
from .exceptions import ProgressError
from .form_fields import EMPTY_CHOICE, TextField, field_for
from .model_fields import Place, said
from .redaction import looks_secret
from .starting import AS_USUAL, Sending

MAX_COUNTDOWN: Final = 7 * 24 * 3600  # s; as long as a record of a task that waits is kept
# No argument can have such a name, so these fields are in nobody's way.
COUNTDOWN, QUEUE, PRIORITY = "send-countdown", "send-queue", "send-priority"
NOTHING: Final = object()


class NoForm(ProgressError):
    """The task has an argument that no form field fits: annotate it with a simple type or give it a default."""


class TaskForm(forms.Form):
    """The arguments of a task. Valid, its ``cleaned_data`` is what `starting.start` takes.

    What has a default and is left as it is, is not in there. `sending` is how it is to be sent, as `starting.start`
    takes it; `help` what the task says about itself. `fieldsets` yields a heading and the fields below it.
    """

    help: ClassVar[str] = ""
    arguments: ClassVar[Mapping[str, Argument]] = {}
    given: ClassVar[Mapping[str, Any]] = {}  # of the run that is started again
    asked: ClassVar[frozenset[str]] = frozenset()  # must be filled in anew
    sending: Sending = AS_USUAL
    required_css_class = "required"  # which the admin prints bold

    def fieldsets(self) -> Iterator[tuple[str, list[BoundField]]]:
        """The arguments, without a heading, and how the task is sent."""
        special = (COUNTDOWN, QUEUE, PRIORITY)
        yield "", [self[name] for name in self.fields if name not in special]
        if below := [self[name] for name in self.fields if name in special]:
            yield str(_("How it is sent")), below

    def clean(self) -> dict[str, Any]:
        """The arguments to send, by name."""
        values = super().clean() or self.cleaned_data
        countdown, queue, priority = (values.pop(name, None) for name in (COUNTDOWN, QUEUE, PRIORITY))
        self.sending = Sending(countdown, queue or "", priority)
        kept = {}
        for name, value in values.items():
            meant = self._meant(name, value)
            if meant is not NOTHING:
                kept[name] = meant
        return kept

    def _meant(self, name: str, value: Any) -> Any:
        """What to send for what was entered; `NOTHING` for what is left to the task's default."""
        argument = self.arguments.get(name)
        if self.fields[name].disabled:
            return self.given.get(name, NOTHING)
        if argument is None or name in self.asked:
            return value
        has_default, kind = argument.has_default, argument.kind
        if self._is_left_alone(name) and (has_default or name in self.given):
            return self.given.get(name, NOTHING)
        is_text = kind.base is str and not (kind.optional or kind.many or kind.choices or kind.file)
        if value in (None, "", []) and not is_text and (kind.optional or not kind.many):
            return None if kind.optional and (argument.default is not None or not has_default) else NOTHING
        same = has_default and value == argument.default and type(value) is type(argument.default)
        return NOTHING if same and name not in self.given else value

    def _is_left_alone(self, name: str) -> bool:
        field, bound = self.fields[name], self[name]
        if name not in self.changed_data or field.widget.value_omitted_from_data(
            self.data, self.files, bound.html_name
        ):
            return True
        # What the page showed came back as it was, though a second's fraction or a time zone was not shown.
        return isinstance(bound.data, str) and bound.data == field.widget.format_value(
            field.prepare_value(bound.initial)
        )


def form_for(
    task: Any,
    *,
    given: Mapping[str, Any] | None = None,
    sending: bool = False,
    without: Collection[str] = (),
    place: Place | None = None,
) -> type[TaskForm]:
    """A form with one field per argument of `task`, but for those in `without`.

    `given` is what a run kept of its arguments (`progress.arguments.Arguments`): the form is filled in with it, and
    what was hidden or left out is blank and required. `sending` adds countdown, queue and priority. `place` is for
    whom and where the form is shown: objects are offered by name only where that is known.
    `docs/admin-forms.md` lists the annotations and their fields. Raises `NoForm` for an argument that no field fits
    and that has neither a default nor a known value.
    """
    before = _Before(task, given)
    fields: dict[str, forms.Field] = {}
    arguments = declared(task.run)
    for name, argument in arguments.items():
        if name not in without:
            fields[name] = _field(task.name, argument, before, place or Place())
    fields |= {name: field for name, field in before.fields_of_others().items() if name not in without}
    if sending:
        fields |= _sending_fields(task)
    form: type[TaskForm] = type("TaskForm", (TaskForm,), fields)
    # Not in the same breath: an argument may have one of these names.
    form.help, form.arguments = summary(task.run.__doc__), arguments
    form.given, form.asked = before.given, before.missing
    return form


class _Before:
    """What is known of the call that is to be made again."""

    def __init__(self, task: Any, kept: Mapping[str, Any] | None) -> None:
        self._task = task
        self._parameters = inspect.signature(task.run).parameters
        told = kept or {}
        self.given = {self._name_of(name): value for name, value in (told.get("given") or {}).items()}
        self.given = {name: value for name, value in self.given.items() if self._takes(name)}
        missing = [*(told.get("hidden") or ()), *(told.get("left_out") or ())]
        # A secret that was kept, since `PROGRESS_REDACT` let it, is not shown either.
        missing += [name for name in self.given if looks_secret(name)]
        self.missing = frozenset(name for name in map(self._name_of, missing) if self._takes(name))
        self.given = {name: value for name, value in self.given.items() if name not in self.missing}

    def fields_of_others(self) -> dict[str, forms.Field]:
        """What went into ``*args`` and ``**kwargs``: shown, or asked for as text."""
        found: dict[str, forms.Field] = {}
        for name in sorted({*self.given, *self.missing} - set(declared(self._task.run))):
            if name in self.given:
                found[name] = shown(name, self.given[name])
            elif name in self._parameters:  # *args: nobody knows how many there were
                raise NoForm(
                    f"The argument {name} of {self._task.name} was not kept, and no field fits it. Start it by code."
                )
            else:
                found[name] = TextField(label=name)
        return found

    def _name_of(self, name: str) -> str:
        return name_of(self._parameters, name)

    def _takes(self, name: str) -> bool:
        return takes(self._parameters, name)


def shown(name: str, value: Any) -> forms.Field:
    """A field that cannot be changed."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return forms.CharField(required=False, disabled=True, label=name.replace("_", " ").capitalize(), initial=text)


def _field(task: str, argument: Argument, before: _Before, place: Place) -> forms.Field:
    name, asked = argument.name, argument.name in before.missing
    try:
        kind = argument.kind
    except Unfit as error:
        if name in before.given:
            return shown(name, before.given[name])
        if asked or not argument.has_default:
            raise NoForm(
                f"No form field fits the argument {name} of {task}: {error}. Or give it a default."
            ) from None
        field = shown(name, None)
        default = gettext("its default") if looks_secret(name) else repr(argument.parameter.default)[:200]
        field.initial, field.help_text = "", said(gettext("always"), default)
        return field
    if name in before.given:
        try:
            initial = before.given[name] = from_json(kind, before.given[name])
        except (ValueError, TypeError, ArithmeticError):  # the annotation is another one by now
            del before.given[name]
            initial, asked = None, True
        if kind.free and initial is not None and not _can_be_written(kind, initial):
            return shown(name, initial)
    else:
        initial = argument.default if argument.has_default and not asked else None
    return field_for(argument, kind, initial, asked=asked, place=place)


def _can_be_written(kind: Kind, value: Any) -> bool:
    """True if a field of a kind that nobody declared can show this value and take another."""
    return type(value) is kind.base or (kind.base is str and type(value) in (int, float))


def _sending_fields(task: Any) -> dict[str, forms.Field]:
    queues = task.app.conf.task_queues
    which = _("Which workers run it. Empty: the task's own.")
    if queues:
        names = queues if isinstance(queues, Mapping) else [queue.name for queue in queues]
        choices = [EMPTY_CHOICE, *((name, name) for name in names)]
        queue: forms.Field = forms.ChoiceField(choices=choices, required=False, label=_("Queue"), help_text=which)
    else:
        queue = forms.CharField(max_length=200, required=False, label=_("Queue"), help_text=which)
    return {
        COUNTDOWN: forms.IntegerField(
            min_value=0,
            max_value=MAX_COUNTDOWN,
            required=False,
            label=_("Countdown"),
            help_text=_("Seconds from now until a worker may begin."),
        ),
        QUEUE: queue,
        PRIORITY: forms.IntegerField(
            min_value=0,
            max_value=9,
            required=False,
            label=_("Priority"),
            help_text=_("0 to 9; what it means depends on the broker."),
        ),
    }
