"""Tasks for rows: which tasks a `ModelAdmin` offers, and how a row, or several, become the arguments of a call."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from django.core.exceptions import ImproperlyConfigured
from django.core.files.uploadedfile import UploadedFile
from django.db.models import Model
from django.utils.translation import gettext, ngettext

from .annotations import UNKNOWN, Kind, Unfit, declared
from .docstrings import summary
from .forms import TaskForm, form_for
from .model_fields import Place
from .options import options_of
from .runnable import NoSuchTask, task_named
from .words import number_words

Tasks = Sequence[Any] | Mapping[str, Any]  # tasks or their names; a mapping gives each its label

FORM: Final = "run"  # prefix of the form's fields: on an action's page they stand beside Django's own


@dataclass(frozen=True)
class Offer:
    """A task that can be started for a row, and what its button says."""

    label: str
    task: Any

    @property
    def name(self) -> str:
        """The task's name."""
        return str(self.task.name)

    @property
    def tracked(self) -> bool:
        """True if there will be something to watch."""
        return options_of(self.name, self.task.run).track

    @property
    def for_selected(self) -> str:
        """What its action says; Django fills in the name of the model, and what the label says is no placeholder."""
        names = {"task": self.label.replace("%", "%%"), "rows": "%(verbose_name_plural)s"}
        return gettext("%(task)s for the selected %(rows)s") % names

    def how_often(self, calls: Sequence[Call]) -> str:
        """How often the task is started, in words that stand above the rows."""
        values = {"task": self.name, "count": number_words(len(calls))}
        if sum(len(call.rows) for call in calls) == 1:
            return gettext("%(task)s will be started for:") % values
        if len(calls) == 1:
            return gettext("%(task)s will be started once for all of these:") % values
        return gettext("%(task)s will be started %(count)s times, once for each of these:") % values

    @property
    def about(self) -> str:
        """What the task says about itself."""
        return summary(self.task.run.__doc__)


class Call(NamedTuple):
    """A task is to be started once: for these rows, with these arguments."""

    rows: Sequence[Model]
    arguments: Mapping[str, Any]


class Taker(NamedTuple):
    """The argument of a task that takes a row, or several, by primary key."""

    name: str
    kind: Kind | None  # None: the task says nothing about it

    @property
    def many(self) -> bool:
        """True if it takes a list of them."""
        return self.kind is not None and self.kind.many

    def value(self, pks: Sequence[Any]) -> Any:
        """What is passed for rows with these primary keys: one, or a list where the task takes a list."""
        found = [_carried(pk, self.kind) for pk in pks]
        return found if self.many else found[0]


def offers(tasks: Tasks) -> Iterator[Offer]:
    """The tasks that `run_tasks` lists. Raises `ImproperlyConfigured` for a name that no task has."""
    labelled = tasks.items() if isinstance(tasks, Mapping) else [("", each) for each in tasks]
    for label, named in labelled:
        try:
            task = task_named(named) if isinstance(named, str) else named
        except NoSuchTask as error:
            raise ImproperlyConfigured(f"run_tasks: {error}") from None
        yield Offer(str(label) or task.name.rpartition(".")[2].replace("_", " ").capitalize(), task)


def taker_of(task: Any, model: type[Model]) -> Taker:
    """The argument of `task` that takes a `model`: the one annotated so, else its only required one.

    Raises `ImproperlyConfigured` if there is none.
    """
    kinds = {name: _kind(argument) for name, argument in declared(task.run).items()}
    for name, kind in kinds.items():
        if kind is not None and kind.model is not None and _is_of(model, kind.model):
            return Taker(name, kind)
    required = missing(task, {})
    only = kinds[required[0]] if len(required) == 1 else None
    if only is not None and only.model is None and not only.many and only.choices is None:
        said = declared(task.run)[required[0]].annotation not in UNKNOWN
        return Taker(required[0], only if said else None)
    raise ImproperlyConfigured(
        f"{task.name} has no argument that takes a {model.__name__}: annotate one as "
        f"Annotated[int, {model.__name__}], or override run_task_arguments()."
    )


def missing(task: Any, given: Mapping[str, Any]) -> list[str]:
    """The required arguments of `task` that are not `given`."""
    return [name for name, each in declared(task.run).items() if not each.has_default and name not in given]


def form_for_the_rest(
    offer: Offer, calls: Sequence[Call], place: Place, data: Any = None, files: Any = None
) -> TaskForm | None:
    """A form for what the task can be told besides the rows; None where it needs nothing more.

    Raises `NoForm` where it needs what no form field fits.
    """
    if not any(missing(offer.task, call.arguments) for call in calls):
        return None
    without = {name for call in calls for name in call.arguments}
    return form_for(offer.task, without=without, place=place)(data, files, prefix=FORM)


def for_one_of_many(values: Mapping[str, Any]) -> dict[str, Any]:
    """The same values for one more call: an uploaded file as one that storing does not move away."""
    return {
        name: UploadedFile(value.file, value.name, value.content_type, value.size)
        if isinstance(value, UploadedFile)
        else value
        for name, value in values.items()
    }


def of_how_many(sent: int, wanted: int) -> str:
    """How many were started before one could not be."""
    if not sent:
        return gettext("Nothing was started.")
    said = ngettext(
        "%(count)s of %(total)s was started, the others were not.",
        "%(count)s of %(total)s were started, the others were not.",
        sent,
    )
    return said % {"count": sent, "total": wanted}


def _kind(argument: Any) -> Kind | None:
    try:
        found: Kind = argument.kind
    except Unfit:
        return None
    return found


def _carried(pk: Any, kind: Kind | None) -> Any:
    """A primary key as the task takes it; where it says nothing a number stays one, all else becomes text."""
    if kind is None:
        return pk if isinstance(pk, int) else str(pk)
    return pk if isinstance(pk, kind.base) else kind.base(str(pk))


def _is_of(model: type[Model], wanted: type[Model]) -> bool:
    """True for the model itself, for what inherits from it, and for its proxies in either direction."""
    return issubclass(model, wanted) or model._meta.concrete_model is wanted._meta.concrete_model
