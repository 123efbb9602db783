"""How a task is started for somebody: one way for every page from which staff start tasks."""

from __future__ import annotations

import contextlib
import datetime as dt
import inspect
import posixpath
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final
from uuid import UUID, uuid4

from django.core.exceptions import SuspiciousFileOperation
from django.core.files.storage import default_storage
from django.core.files.uploadedfile import UploadedFile
from django.utils.translation import gettext
from kombu.serialization import dumps

from . import snapshot
from .annotations import Unfit, declared
from .exceptions import ProgressError, StoreUnavailable
from .options import options_of
from .owners import owner
from .permissions import START
from .runnable import may_start, own_permission
from .snapshot import State
from .store import Write, get_store

# One new attempt, for a connection that died in the pool. More would keep somebody waiting for the page.
_RETRY: Final = {"max_retries": 1, "interval_start": 0}
_TEXTUAL: Final = (Decimal, dt.date, dt.time, UUID)


class MayNotStart(ProgressError):
    """This user may not start this task: that takes staff with ``task_progress.start_taskrun`` or a grant of
    ``PROGRESS_AUTHORIZE``, and either way the task's own permission, if it names one.
    """


class NotSent(ProgressError):
    """The broker did not take the task: nothing was started. See ``manage.py progress_doctor``, then try again."""


@dataclass(frozen=True, slots=True)
class Sending:
    """How a task is sent. What is left as it is here is for the task and the routes to say."""

    countdown: int | None = None  # s from now until a worker may begin
    queue: str = ""
    priority: int | None = None  # 0 to 9; what it means is the broker's matter

    def options(self) -> dict[str, Any]:
        """What `apply_async` takes."""
        chosen = {"countdown": self.countdown, "queue": self.queue or None, "priority": self.priority}
        return {name: value for name, value in chosen.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Started:
    """A task that was sent."""

    task_id: str
    key: str  # of its record: what pages and `{% task_progress %}` take
    tracked: bool  # False: its options say that it is left alone, so there is nothing to watch


AS_USUAL: Final = Sending()


def start(task: Any, arguments: Mapping[str, Any], user: Any, sending: Sending = AS_USUAL, **options: Any) -> Started:
    """Send `task` with `arguments` (by name, as a valid `TaskForm` has them in ``cleaned_data``) for `user`.

    The run is the user's. Uploaded files are stored first, and the task is sent their names; if it cannot be sent
    they are deleted again. `options` are others that `apply_async` takes. Whether the task is declared runnable is
    for the caller to ask. Raises `MayNotStart`; `NotSent` if it was not sent. What a broker took before its
    connection broke may run nevertheless.
    """
    if not may_start(user, task):
        own = own_permission(task)
        values = {"task": task.name, "permission": START, "own": own}
        said = gettext("You may not start %(task)s. That takes staff with %(permission)s or a site's grant.")
        if own:
            said = gettext(
                "You may not start %(task)s. That takes staff with %(permission)s or a site's grant, "
                "and %(own)s besides."
            )
        raise MayNotStart(said % values)
    serializer = task.serializer or task.app.conf.task_serializer
    with _stored(task, arguments) as plain:
        args, kwargs = call_of(task.run, {name: _carried(value, serializer) for name, value in plain.items()})
        chosen = {"task_id": str(uuid4()), "retry_policy": _RETRY, **sending.options(), **options}
        try:
            with owner(user):
                sent = task.apply_async(args=args, kwargs=kwargs, **chosen)
        except TypeError as error:
            said = gettext("The task %(task)s was not started: it does not take these arguments (%(error)s).")
            raise NotSent(said % {"task": task.name, "error": error}) from error
        except Exception as error:
            _call_off(snapshot.key(chosen["task_id"]))
            said = gettext("The task could not be sent: %(error)s. Check the broker and try again.")
            raise NotSent(said % {"error": str(error).rstrip(".")}) from error
    return Started(sent.id, snapshot.key(sent.id), options_of(task.name, task.run).track)


def _call_off(key: str) -> None:
    """End the record of a task that could not be sent: it was written before the message, and would wait for ever.

    Should the broker have taken the message all the same, its execution begins anew.
    """
    with contextlib.suppress(StoreUnavailable):
        if get_store().load(key) is not None:
            get_store().write(Write("verdict", key, {"exec": "", "state": str(State.REVOKED)}))


def call_of(function: Callable[..., Any], arguments: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """Positional and keyword arguments that give `function` these `arguments`, by name.

    Almost all go by name. An argument that can only be given by its place goes there, and so does all that stands
    before it, or before the ``*args`` if some are given (a list, under their name).
    """
    kwargs = dict(arguments)
    parameters = list(inspect.signature(function).parameters.values())
    more = next((each.name for each in parameters if each.kind is each.VAR_POSITIONAL), None)
    by_place = [each for each in parameters if each.kind is each.POSITIONAL_ONLY]
    if more in kwargs:
        by_place = [each for each in parameters if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)]
    else:
        while by_place and by_place[-1].name not in kwargs:
            by_place.pop()
    args = [kwargs.pop(each.name, each.default) for each in by_place]
    if more in kwargs:
        args += kwargs.pop(more)
    return args, kwargs


@contextlib.contextmanager
def _stored(task: Any, arguments: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The arguments, of files their names in the default storage. An exception inside takes the files back."""
    plain, names = dict(arguments), []
    try:
        for name, value in arguments.items():
            if isinstance(value, UploadedFile):
                plain[name] = _save(task, name, value)
                names.append(plain[name])
        yield plain
    except BaseException:
        for stored in names:
            with contextlib.suppress(Exception):  # the first mistake is the one to tell
                default_storage.delete(stored)
        raise


def _save(task: Any, name: str, file: UploadedFile[Any]) -> str:
    kind = None
    with contextlib.suppress(Unfit, KeyError):
        kind = declared(task.run)[name].kind
    folder = dt.datetime.now().astimezone().strftime(kind.file.upload_to) if kind and kind.file else ""
    try:
        proper = default_storage.get_valid_name(posixpath.basename(file.name or "file"))
    except SuspiciousFileOperation:  # nothing of the name can stay: "???"
        proper = "file"
    try:
        return default_storage.save(posixpath.join(folder, proper), file)
    except OSError as error:
        said = gettext("The file %(file)s could not be stored: %(error)s. Nothing was started.")
        raise NotSent(said % {"file": proper, "error": error}) from error


def _carried(value: Any, serializer: str) -> Any:
    """`value` as a message can carry it: as it is, or as text where the serializer knows no such type."""
    if isinstance(value, list):
        return [_carried(each, serializer) for each in value]
    if not isinstance(value, _TEXTUAL):
        return value
    try:
        dumps(value, serializer=serializer)
    except Exception:  # noqa: BLE001 (each serializer has its own)
        return value.isoformat() if isinstance(value, (dt.date, dt.time)) else str(value)
    return value
