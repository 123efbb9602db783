"""Starting a task for somebody: who may, what is sent, and what is left behind when it cannot be sent."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Annotated, Any

import pytest
from celery import Celery, current_app, shared_task
from django.contrib.auth.models import AnonymousUser, Permission, User
from django.core.files.storage import FileSystemStorage, default_storage
from django.core.files.uploadedfile import SimpleUploadedFile
from kombu.exceptions import OperationalError

import progress
from progress import StoredFile, authorize
from progress.options import ATTRIBUTE
from progress.owners import owner_of_sending
from progress.runnable import may_start
from progress.starting import MayNotStart, NotSent, Sending, call_of, start

pytestmark = pytest.mark.django_db


@shared_task(name="tests.starting.plain")
def plain(count: int = 1) -> None:
    """Take a number."""


@shared_task(name="tests.starting.guarded")
@progress.options(start_permission="auth.change_group")
def guarded(count: int = 1) -> None:
    """Take a number from few."""


@shared_task(name="tests.starting.reads")
def reads(
    file: Annotated[str, progress.StoredFile("imports/")], other: Annotated[str, progress.StoredFile()]
) -> None:
    """Take two files."""


@pytest.fixture
def user():
    """A user with these permissions, by codename."""

    def make(*codenames: str, staff: bool = True, active: bool = True) -> User:
        found = User.objects.create_user("someone", is_staff=staff, is_active=active)
        found.user_permissions.set(Permission.objects.filter(codename__in=codenames))
        return User.objects.get(pk=found.pk)

    return make


@pytest.fixture
def sent(monkeypatch):
    """What would go to the broker: name, kwargs and options of each task."""
    found: list[tuple[str, dict[str, Any], dict[str, Any]]] = []

    def take(self: Celery, name: str, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
        options["owner"] = owner_of_sending(name, {}, None)
        found.append((name, dict(kwargs), options))
        return current_app.AsyncResult("id-of-task")

    monkeypatch.setattr(Celery, "send_task", take)
    return found


@pytest.fixture
def away(monkeypatch):
    """A broker that takes nothing."""

    def refuse(*_args: Any, **_options: Any) -> None:
        raise OperationalError("connection refused")

    monkeypatch.setattr(Celery, "send_task", refuse)


@pytest.fixture
def files(settings, tmp_path):
    """A default storage of its own; the names of what lies in it."""
    settings.MEDIA_ROOT = tmp_path
    settings.STORAGES = {
        **settings.STORAGES,
        "default": {"BACKEND": "django.core.files.storage.FileSystemStorage", "OPTIONS": {"location": str(tmp_path)}},
    }
    return lambda: sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())


@pytest.fixture
def granting(settings):
    """A `PROGRESS_AUTHORIZE` that answers like this; nobody else's answers are remembered."""

    def grant(answer: Any) -> None:
        settings.PROGRESS_AUTHORIZE = answer
        authorize._answers.forget()

    yield grant
    authorize._answers.forget()


# --- Who may


@pytest.mark.parametrize(
    ("codenames", "staff", "active", "may"),
    [
        (("start_taskrun",), True, True, True),
        ((), True, True, False),
        (("view_taskrun", "rerun_taskrun"), True, True, False),
        (("start_taskrun",), False, True, False),
        (("start_taskrun",), True, False, False),
    ],
)
def test_starting_takes_staff_with_the_permission(user, codenames, staff, active, may):
    """Each of them alone is not enough."""
    assert may_start(user(*codenames, staff=staff, active=active), plain.name) is may


def test_nobody_may_start_nothing():
    """Whoever is not logged in."""
    assert not may_start(AnonymousUser(), plain.name)


def test_the_tasks_own_permission_is_needed_besides(user):
    """And it is no substitute for ours."""
    both = user("start_taskrun", "change_group")
    assert may_start(both, guarded.name)
    both.user_permissions.set(Permission.objects.filter(codename="start_taskrun"))
    ours = User.objects.get(pk=both.pk)
    assert may_start(ours, plain.name)
    assert not may_start(ours, guarded.name)
    both.user_permissions.set(Permission.objects.filter(codename="change_group"))
    assert not may_start(User.objects.get(pk=both.pk), guarded.name)


def test_the_sites_function_grants_a_start_but_not_the_tasks_own_permission(user, granting):
    """It is asked with the name of the task; what the task itself demands stays."""
    granting(lambda _user, action, run: action == "start" and run.name in (plain.name, guarded.name))
    someone = user(staff=False)
    assert may_start(someone, plain.name)
    assert not may_start(someone, guarded.name)
    assert not may_start(someone, reads.name)


def test_options_of_the_settings_name_the_permission_too(user, settings):
    """For tasks of other people, and for names that this process does not know."""
    settings.PROGRESS_TASKS = {"foreign.*": {"start_permission": "auth.change_group"}}
    someone = user("start_taskrun")
    assert may_start(someone, "foreign.job") is False
    assert may_start(someone, "other.job") is True
    assert not hasattr(plain.run, ATTRIBUTE)


def test_who_may_not_start_sends_nothing_and_stores_nothing(user, sent, files):
    """The message says what it takes."""
    file = SimpleUploadedFile("a.csv", b"1")
    with pytest.raises(MayNotStart, match=r"task_progress\.start_taskrun .*, and auth\.change_group besides"):
        start(guarded, {"count": 1}, user("start_taskrun"))
    with pytest.raises(MayNotStart, match=r"task_progress\.start_taskrun or a site's grant\."):
        start(reads, {"file": file, "other": file}, User(is_staff=True, pk=0))
    assert (sent, files()) == ([], [])


# --- What is sent


def test_the_run_belongs_to_who_started_it(user, sent):
    """And its id is told."""
    someone = user("start_taskrun")
    started = start(plain, {"count": 2}, someone)
    assert (started.task_id, started.tracked) == ("id-of-task", True)
    [(name, kwargs, options)] = sent
    assert (name, kwargs, options["owner"]) == (plain.name, {"count": 2}, str(someone.pk))


def test_countdown_queue_and_priority_are_passed_on_where_they_are_given(user, sent):
    """What is left empty is for the routes and for the task's own attributes, which Celery adds as None."""
    someone = user("start_taskrun")
    start(plain, {}, someone, Sending(countdown=60, queue="slow", priority=0))
    start(plain, {}, someone)
    said = [tuple(options.get(name) for name in ("countdown", "queue", "priority")) for _, _, options in sent]
    assert said == [(60, "slow", 0), (None, None, None)]


def test_whoever_waits_is_told_soon_that_the_broker_is_away(user, away):
    """One new attempt, and words that say what to do."""
    with pytest.raises(NotSent, match=r"connection refused.*Check the broker"):
        start(plain, {}, user("start_taskrun"))


def test_arguments_that_the_task_does_not_take_are_told(user, sent):
    """Not as a broken broker."""
    with pytest.raises(NotSent, match=r"plain was not started: it does not take these arguments"):
        start(plain, {"other": 1}, user("start_taskrun"))
    assert sent == []


def test_serializer_that_knows_no_dates_is_given_text(user, sent, monkeypatch):
    """YAML, msgpack or a site's own may refuse what Celery's JSON carries."""
    monkeypatch.setattr(plain, "serializer", "unknown")
    start(plain, {"count": [Decimal("9.90"), dt.date(2026, 11, 21), 3]}, user("start_taskrun"))
    assert sent[0][1] == {"count": ["9.90", "2026-11-21", 3]}


def test_arguments_that_have_no_name_go_by_their_place():
    """Those before a ``/``, and the ``*args`` of a run that is started again."""

    def job(a: int, b: int = 2, /, c: int = 3, *more: int, d: int = 4) -> None: ...

    assert call_of(job, {"a": 1, "d": 5}) == ([1], {"d": 5})
    assert call_of(job, {"a": 1, "b": 7, "c": 8}) == ([1, 7], {"c": 8})
    assert call_of(job, {"a": 1, "more": [9]}) == ([1, 2, 3, 9], {})


# --- Files


def upload(name: str) -> SimpleUploadedFile:
    file = SimpleUploadedFile("x", b"a;b\n")
    file._name = name  # as a parser that cleans nothing would give it
    return file


@pytest.mark.parametrize(
    ("name", "stored"),
    [
        ("a.csv", "imports/a.csv"),
        ("../../etc/passwd", "imports/passwd"),
        ("/etc/passwd", "imports/passwd"),
        ("my file (1).csv", "imports/my_file_1.csv"),
        ("???", "imports/file"),
        ("..", "imports/file"),
    ],
)
def test_the_task_is_sent_the_name_of_the_stored_file(user, sent, files, name, stored):
    """A name in the storage, below the folder that the annotation says, whatever the client called the file."""
    start(reads, {"file": upload(name), "other": "kept.csv"}, user("start_taskrun"))
    assert sent[0][1] == {"file": stored, "other": "kept.csv"}
    assert files() == [stored]
    with default_storage.open(stored) as file:
        assert file.read() == b"a;b\n"


def test_a_file_never_takes_the_place_of_another(user, sent, files):
    """Two runs with files of the same name read two files."""
    someone = user("start_taskrun")
    for _ in range(2):
        start(reads, {"file": upload("a.csv"), "other": "kept.csv"}, someone)
    assert len(files()) == 2
    assert sorted(kwargs["file"] for _, kwargs, _ in sent) == files()


def test_files_of_a_task_that_was_not_sent_are_taken_back(user, away, files):
    """All of them."""
    with pytest.raises(NotSent):
        start(reads, {"file": upload("a.csv"), "other": upload("b.csv")}, user("start_taskrun"))
    assert files() == []


def test_storage_that_is_full_is_told_in_words(user, sent, files, monkeypatch):
    """And what was stored before is taken back."""
    save = FileSystemStorage.save

    def full(self: FileSystemStorage, name: str, file: Any) -> str:
        if name.endswith("b.csv"):
            raise OSError("No space left on device")
        return str(save(self, name, file))

    monkeypatch.setattr(FileSystemStorage, "save", full)
    with pytest.raises(NotSent, match=r"b\.csv could not be stored: No space left on device"):
        start(reads, {"file": upload("a.csv"), "other": upload("b.csv")}, user("start_taskrun"))
    assert (sent, files()) == ([], [])


@pytest.mark.parametrize("folder", ["/etc", "../up", "a/../../b", "a\\b"])
def test_folder_outside_of_the_storage_is_refused_where_it_is_written(folder):
    """When the module with the task is imported, not when somebody uploads."""
    with pytest.raises(progress.ProgressError, match="must be a folder of the storage"):
        StoredFile(folder)


def test_run_that_was_not_sent_does_not_wait_for_ever(user, monkeypatch):
    """Its record was written before the message; who has started it finds it ended, not queued for a week."""
    from kombu import Producer

    from progress.store import get_store
    from progress.testing import in_memory

    def refuse(*_args: Any, **_kwargs: Any) -> None:
        raise OperationalError("connection refused")

    monkeypatch.setattr(Producer, "publish", refuse)
    someone = user("start_taskrun")
    with in_memory():
        with pytest.raises(NotSent):
            start(plain, {}, someone)
        (key,) = get_store().mine(str(someone.pk))
        record = get_store().load(key)
    assert record is not None
    assert record.state == "REVOKED"
