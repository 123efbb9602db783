"""What a task says about its arguments, taken apart: its signature, its type hints, its docstring.

The one place that knows what an annotation means; forms and the command line build on it.
"""

from __future__ import annotations

import collections.abc
import datetime as dt
import enum
import inspect
import re
import types
import typing
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, Final, Literal
from uuid import UUID

from django.apps import apps
from django.db.models import Model

from .docstrings import argument_helps
from .exceptions import ProgressError

# The simple types, each with what reads it from text. `bool` reads no text: "False" would be true.
READERS: Final[Mapping[Any, Callable[[str], Any]]] = {
    str: str,
    int: int,
    float: float,
    Decimal: Decimal,
    UUID: UUID,
    dt.date: dt.date.fromisoformat,
    dt.datetime: dt.datetime.fromisoformat,
    dt.time: dt.time.fromisoformat,
}
SIMPLE: Final = (*READERS, bool)
BOOLEANS: Final = {
    **dict.fromkeys(("true", "yes", "on", "1"), True),
    **dict.fromkeys(("false", "no", "off", "0"), False),
}
SETS: Final = (set, frozenset, collections.abc.Set, collections.abc.MutableSet)
MANY: Final = (
    *(list, tuple, *SETS, collections.abc.Sequence, collections.abc.MutableSequence),
    *(collections.abc.Iterable, collections.abc.Collection),
)
UNKNOWN: Final = (inspect.Parameter.empty, Any, object)  # annotations that say nothing
UNRESOLVED: Final = "?"  # in place of an annotation that cannot be evaluated

_MODEL: Final = re.compile(r"\w+\.[A-Z]\w*")  # in Annotated; other texts are for people


class Unfit(ValueError):
    """An annotation that stands for nothing a person can fill in. The text says what to write instead."""


@dataclass(frozen=True, slots=True)
class StoredFile:
    """Says that a text is the name of a file in the default storage: ``Annotated[str, StoredFile()]``.

    A form then offers to upload one. It is stored below `upload_to`, which may hold the codes of `strftime`
    ("imports/%Y/%m"), when the task is started, and the task is sent its name. Nothing deletes it afterwards.
    Raises `ProgressError` for a folder that is not below the storage's own.
    """

    upload_to: str = ""

    def __post_init__(self) -> None:
        if self.upload_to.startswith("/") or "\\" in self.upload_to or ".." in self.upload_to.split("/"):
            raise ProgressError(
                f"upload_to must be a folder of the storage, like 'imports/', got {self.upload_to!r}."
            )


@dataclass(frozen=True, slots=True)
class Kind:
    """What an annotation means."""

    base: Any = str  # one of `SIMPLE`; of each of them where there are many
    members: tuple[Kind, ...] = ()  # of a union: the first of them that fits counts
    choices: Mapping[str, Any] | None = None  # what can be chosen, by a text that names it
    labels: Mapping[str, str] | None = None  # what a person reads for it, by that text
    optional: bool = False  # None is a value, too
    free: bool = False  # the task did not say it; its default, or nothing, did
    many: bool = False
    once: bool = False  # of many: each counts once
    model: type[Model] | None = None  # the value is the primary key of one of these
    file: StoredFile | None = None  # the value is the name of a file

    def name_of(self, value: Any) -> str | None:
        """The text that names this value among the choices; None if it is none of them."""
        plain = value.value if isinstance(value, enum.Enum) else value
        for name, choice in (self.choices or {}).items():
            if choice == plain and type(choice) is type(plain):
                return name
        return None


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument that a function takes."""

    name: str
    annotation: Any  # `inspect.Parameter.empty` if there is none, `UNRESOLVED` if it cannot be evaluated
    parameter: inspect.Parameter
    help: str = ""

    @property
    def has_default(self) -> bool:
        """True if a call may leave it out."""
        return self.parameter.default is not self.parameter.empty

    @property
    def default(self) -> Any:
        """What it is if a call leaves it out, as a message carries it: the value of an enum; a list for a tuple."""
        found = self.parameter.default
        if isinstance(found, enum.Enum):
            return found.value
        if isinstance(found, (tuple, list)):
            return [each.value if isinstance(each, enum.Enum) else each for each in found]
        return found

    @property
    def kind(self) -> Kind:
        """What may be given for it. Raises `Unfit`. Without an annotation the default says it, else it is a text."""
        if self.annotation is UNRESOLVED:
            raise Unfit(
                f"its annotation {self.parameter.annotation!r} cannot be evaluated; import what it names where the "
                "task can see it, not for type checkers only"
            )
        if self.annotation not in UNKNOWN:
            return kind_of(self.annotation)
        default = self.parameter.default
        if not self.has_default or default is None:
            return Kind(optional=default is None, free=True)
        if type(default) in SIMPLE or isinstance(default, enum.Enum):
            return replace(kind_of(type(default)), free=True)
        raise Unfit("its default is nothing simple; annotate it")


def declared(function: Callable[..., Any]) -> dict[str, Argument]:
    """The arguments of `function` by name, in their order, without ``*args`` and ``**kwargs``."""
    hints, helps = hints_of(function), argument_helps(function.__doc__)
    return {
        name: Argument(name, hints.get(name, _unresolved(parameter)), parameter, helps.get(name, ""))
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    }


def _unresolved(parameter: inspect.Parameter) -> Any:
    return parameter.empty if parameter.annotation is parameter.empty else UNRESOLVED


def hints_of(function: Callable[..., Any]) -> dict[str, Any]:
    """The type hints of `function`, with their metadata. Those that exist for type checkers only are not there."""
    plain = inspect.unwrap(function)
    with suppress(Exception):  # an annotation may be any expression
        return typing.get_type_hints(plain, include_extras=True)
    found: dict[str, Any] = {}
    for name, annotation in plain.__annotations__.items():
        alone = types.SimpleNamespace(__annotations__={name: annotation})
        with suppress(Exception):
            found.update(typing.get_type_hints(alone, getattr(plain, "__globals__", {}), include_extras=True))
    return found


def kind_of(annotation: Any) -> Kind:
    """What `annotation` means. Raises `Unfit`."""
    bare, optional, metadata = _bare(annotation)
    origin = typing.get_origin(bare) or bare
    if origin in (typing.Union, types.UnionType):
        kind = _union(typing.get_args(bare))
    elif origin in MANY:
        kind = replace(kind_of(_item(bare)), many=True, once=origin in SETS)
    elif origin is Literal or _is_a(bare, enum.Enum):
        kind = _choice(bare)
    elif bare in SIMPLE:
        kind = Kind(base=bare)
    elif _is_a(bare, Model):
        raise Unfit(
            f"no message can carry a {bare.__name__}; write Annotated[int, {bare.__name__}] and take its primary key"
        )
    else:
        raise Unfit(
            f"expected one of {', '.join(each.__name__ for each in SIMPLE)}, an Enum, a Literal or a list of these"
        )
    return _marked(replace(kind, optional=optional or kind.optional), metadata)


def _union(annotations: tuple[Any, ...]) -> Kind:
    members = [kind_of(each) for each in annotations]
    if any(each.many or each.model or each.file for each in members):
        raise Unfit("of a union, each member must be simple")
    # Any text is a str, so that is tried last; and what is left empty is one.
    members.sort(key=lambda each: each.base is str and each.choices is None)
    return Kind(base=members[-1].base, members=tuple(members))


def without_none(annotation: Any) -> tuple[Any, bool]:
    """`annotation` without ``| None``, and whether it had one."""
    if typing.get_origin(annotation) not in (typing.Union, types.UnionType):
        return annotation, False
    members = typing.get_args(annotation)
    others = [each for each in members if each is not type(None)]
    union = typing.Union  # of a number of types that is not known here
    return (others[0] if len(others) == 1 else union[tuple(others)]), len(others) < len(members)


def choices_of(annotation: Any) -> dict[str, Any] | None:
    """What an Enum or a Literal lets one choose, by name: values as a message carries them; None for the others."""
    if typing.get_origin(annotation) is Literal:
        found: dict[str, Any] = {}
        for value in typing.get_args(annotation):
            plain, name = (value.value, value.name) if isinstance(value, enum.Enum) else (value, str(value))
            found[repr(value) if name in found else name] = plain
        return found
    return {member.name: member.value for member in annotation} if _is_a(annotation, enum.Enum) else None


def _bare(annotation: Any) -> tuple[Any, bool, tuple[Any, ...]]:
    """`annotation` without Annotated and None, in whatever order they are wrapped."""
    optional, metadata = False, ()
    while True:
        if typing.get_origin(annotation) is typing.Annotated:
            metadata += annotation.__metadata__
            annotation = annotation.__origin__
        elif aliased := getattr(annotation, "__supertype__", None) or getattr(annotation, "__value__", None):
            annotation = aliased  # of NewType, of a `type` statement
        else:
            annotation, had_none = without_none(annotation)
            if not had_none:
                return annotation, optional, metadata
            optional = True


def _item(annotation: Any) -> Any:
    """The type of the items of a list, tuple or set."""
    items = typing.get_args(annotation) or (str,)
    if typing.get_origin(annotation) is tuple and (len(items) != 2 or items[1] is not ...):
        raise Unfit("a tuple of a fixed length has no field; write tuple[int, ...] or a list")
    bare, optional, _ = _bare(items[0])
    if optional or (typing.get_origin(bare) or bare) in MANY:
        raise Unfit("the items of a list must be simple: no None, no list")
    return str if items[0] in UNKNOWN else items[0]


def _choice(annotation: Any) -> Kind:
    names = choices_of(annotation) or {}
    nothing = [name for name, value in names.items() if value is None]
    labels = {name: name for name in names}
    if _is_a(annotation, enum.Enum):
        labels = {
            each.name: str(getattr(each, "label", each.name.replace("_", " ").capitalize())) for each in annotation
        }
    for name in nothing:
        del names[name]
    return Kind(base=str, choices=names, labels=labels, optional=bool(nothing))


def _marked(kind: Kind, metadata: tuple[Any, ...]) -> Kind:
    """`kind` with what ``Annotated`` says besides. Metadata of others is let be."""
    for mark in metadata:
        if isinstance(mark, type) and issubclass(mark, Model):
            kind = replace(kind, model=mark)
        elif isinstance(mark, str) and _MODEL.fullmatch(mark):
            kind = replace(kind, model=_model(mark))
        elif mark is StoredFile or isinstance(mark, StoredFile):
            kind = replace(kind, file=mark if isinstance(mark, StoredFile) else StoredFile())
    if kind.file and (kind.base is not str or kind.many or kind.choices is not None):
        raise Unfit("a file is one text, its name: write Annotated[str, progress.StoredFile()]")
    if kind.model and kind.choices is not None:
        raise Unfit(f"write Annotated[int, {kind.model.__name__}]; choices and a model exclude each other")
    return kind


def _model(name: str) -> type[Model]:
    try:
        found: type[Model] = apps.get_model(name)
    except (LookupError, ValueError) as error:
        raise Unfit(f"{name!r} is no model ({error}); write it as app_label.Model") from None
    return found


def _is_a(annotation: Any, base: type) -> bool:
    return inspect.isclass(annotation) and issubclass(annotation, base)
