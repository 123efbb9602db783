"""A task's form: every simple annotation becomes a field, and the task gets what its annotation says."""

from __future__ import annotations

import datetime as dt
import itertools
import re
import typing
import uuid
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import pytest
from celery import Celery
from django import forms
from django.contrib.admin import AdminSite, ModelAdmin, site
from django.contrib.auth.models import Permission, User
from django.contrib.contenttypes.models import ContentType
from django.core.files.uploadedfile import SimpleUploadedFile
from django.http import QueryDict
from kombu.serialization import dumps, loads

from progress.form_fields import ChoiceField, LinesField
from progress.forms import NoForm, form_for
from progress.model_fields import Place, SearchedSelect, SearchedSelects
from progress.runnable import NoSuchTask, runnable_task
from progress.starting import call_of, start

from .form_rows import FIELDS, NAMES, ROWS, Colour, Row

if TYPE_CHECKING:
    from nowhere import Nothing

DOCUMENT = Path(__file__).resolve().parent.parent.parent / "docs" / "admin-forms.md"


@pytest.fixture
def app() -> Celery:
    """A Celery app of its own, so that nothing is registered for other tests."""
    return Celery("forms", set_as_current=False, broker="memory://", backend="disabled://")


@pytest.fixture
def task(app):
    """A function as a task."""
    number = itertools.count()
    return lambda function, **options: app.task(shared=False, name=f"forms.job{next(number)}", **options)(function)


@pytest.fixture
def taking(task):
    """A task with one argument, ``value``, annotated like this."""

    def make(annotation: Any, *default: Any) -> Any:
        if default:

            def job(value=default[0]) -> None: ...
        else:

            def job(value) -> None: ...

        job.__annotations__["value"] = annotation
        return task(job)

    return make


@pytest.fixture
def files(settings):
    """A default storage that leaves nothing behind."""
    settings.STORAGES = {**settings.STORAGES, "default": {"BACKEND": "django.core.files.storage.InMemoryStorage"}}


def evaluated(text: str) -> Any:
    return eval(text, {**vars(typing), **NAMES})  # our own table


def entered(row: Row, text: str, name: str = "value") -> tuple[QueryDict, dict[str, Any]]:
    """What a browser sends."""
    data = QueryDict(mutable=True)
    if row.field == "file":
        return data, {name: SimpleUploadedFile(text, b"a;b\n")} if text else {}
    if text:
        data[name] = text.replace("↵", "\r\n")
    return data, {}


def bound(task: Any, **values: Any) -> Any:
    """The form of a task, filled in."""
    data = QueryDict(mutable=True)
    for name, value in values.items():
        data.setlist(name.replace("send_", "send-"), value if isinstance(value, list) else [value])
    return form_for(task)(data)


def arguments(form: Any) -> dict[str, Any]:
    """What a form that must be valid gives."""
    assert form.is_valid(), form.errors
    return dict(form.cleaned_data)


# --- The table


@pytest.mark.django_db
@pytest.mark.usefixtures("files")
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.annotation)
def test_the_task_gets_what_its_annotation_says(taking, row, monkeypatch):
    """From the field, through a message as a broker carries it, to the task."""
    root = User.objects.create_superuser("root", pk=1)
    task = taking(evaluated(row.annotation))
    form = form_for(task)(*entered(row, row.good))
    assert type(form.fields["value"]) is FIELDS[row.field]
    given = arguments(form)
    bodies = []
    monkeypatch.setattr(
        task.app.amqp, "send_task_message", lambda producer, name, message, **_: bodies.append(message.body)
    )
    start(task, given, root)
    content_type, encoding, text = dumps(bodies[0], serializer="json")
    _, kwargs, _ = loads(text, content_type, encoding)
    expected = evaluated(row.arrives)
    assert kwargs == {"value": expected}
    assert type(kwargs["value"]) is type(expected)


@pytest.mark.django_db
@pytest.mark.parametrize("row", [row for row in ROWS if row.bad != "—"], ids=lambda row: row.annotation)
def test_bad_value_is_told_beside_its_field(taking, row):
    """With words, and nothing of it is sent."""
    User.objects.create_superuser("root", pk=1)
    form = form_for(taking(evaluated(row.annotation)))(*entered(row, row.bad))
    assert set(form.errors) == {"value"}
    assert form.errors["value"][0]
    assert "value" not in form.cleaned_data


def test_the_document_has_this_table():
    """`docs/admin-forms.md` shows these rows, in this order, and no others."""
    lines = [line for line in DOCUMENT.read_text().splitlines() if re.match(r"\| `", line)]
    shown = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    wanted = [
        [
            f"`{row.annotation}`".replace("|", "\\|"),
            row.field,
            f"`{row.good}`" if row.good else "nothing",
            f"`{row.arrives}`",
            "—" if row.bad == "—" else f"`{row.bad}`" if row.bad else "nothing",
        ]
        for row in ROWS
    ]
    assert shown[: len(wanted)] == wanted
    assert all(len(line) != len(wanted[0]) for line in shown[len(wanted) :])


# --- Defaults


def with_defaults(
    count: int = 3,
    share: Decimal = Decimal("0.5"),
    name: str = "Ann",
    sure: bool = True,
    at: dt.datetime = dt.datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=dt.UTC),
    kind: Literal["full", "quick"] = "quick",
    colour: Colour = Colour.DEEP_BLUE,
    rows: list[int] | None = None,
    days: tuple[int, ...] = (1, 2),
    text="two\nlines",
    limit: int | None = 5,
) -> None:
    """Take everything, need nothing."""


def as_shown(form: Any) -> dict[str, Any]:
    """What a browser would send if nobody touched the form."""
    found = {}
    for field in form:
        widget = field.field.widget
        value = widget.format_value(field.value()) if not isinstance(widget, forms.CheckboxInput) else field.value()
        if isinstance(widget, forms.CheckboxInput):
            found |= {field.html_name: "on"} if value else {}
        else:
            found[field.html_name] = (
                list(map(str, value)) if isinstance(value, list) else "" if value is None else value
            )
    return {name: (value.replace("\n", "\r\n") if isinstance(value, str) else value) for name, value in found.items()}


def test_defaults_are_shown_and_not_sent_when_left_as_they_are(task):
    """So a task whose default changes by the time it runs is started as if it had been left out."""
    job = task(with_defaults)
    shown = as_shown(form_for(job)())
    assert (shown["count"], shown["at"], shown["colour"]) == ("3", "2026-01-02T03:04:05", ["DEEP_BLUE"])
    assert arguments(bound(job, **shown)) == {}
    assert arguments(bound(job, sure="on")) == {}


@pytest.mark.parametrize(
    ("name", "value", "sent"),
    [
        ("count", "4", 4),
        ("share", "0.25", Decimal("0.25")),
        ("name", "Bob", "Bob"),
        ("name", "", ""),
        ("kind", "full", "full"),
        ("colour", "RED", "#f00"),
        ("rows", "1\r\n2", [1, 2]),
        ("days", "", []),
        ("text", "one", "one"),
        ("limit", "", None),
        ("at", "2026-01-02T03:04:06", dt.datetime(2026, 1, 2, 3, 4, 6, tzinfo=dt.UTC)),
    ],
)
def test_only_what_is_changed_is_sent(task, name, value, sent):
    """An emptied field means the empty value, where the type has one."""
    job = task(with_defaults)
    assert arguments(bound(job, **{**as_shown(form_for(job)()), name: value})) == {name: sent}


def test_emptied_number_that_cannot_be_none_is_the_default(task):
    """There is no empty number: the task's own is taken."""
    job = task(with_defaults)
    assert arguments(bound(job, **{**as_shown(form_for(job)()), "count": ""})) == {}


def test_box_that_is_ticked_by_default_can_be_unticked(task):
    """A browser says nothing of a box that is not ticked; the task is told False."""
    job = task(with_defaults)
    shown = as_shown(form_for(job)())
    del shown["sure"]
    assert arguments(bound(job, **shown)) == {"sure": False}


def test_true_and_one_are_not_the_same_value(taking):
    """A value of another type than the default's is sent, though Python calls them equal."""
    assert arguments(bound(taking(Literal[1, True], 1), value="True")) == {"value": True}
    assert form_for(taking(Literal[1, True, "1"]))().fields["value"].choices == [
        ("", "---------"),
        ("1", "1"),
        ("True", "True"),
        ("'1'", "'1'"),
    ]


# --- The signature


def test_what_cannot_be_named_has_no_field(task):
    """``*args``, ``**kwargs`` and the task itself are left out; keyword-only arguments are not."""

    def plain(a: int, *more: int, only: str, **others: Any) -> None: ...
    def own(self, a: int, *, only: str) -> None: ...

    for job in (task(plain), task(own, bind=True), task(own, bind=True, autoretry_for=(OSError,))):
        assert list(form_for(job)().fields) == ["a", "only"]


def test_field_may_be_called_anything(task):
    """Names of arguments meet nothing of the form's own, nor the fields that say how it is sent."""

    def job(clean: str, data: str, fields: str, countdown: int, given: str, arguments: str) -> None: ...

    form = form_for(task(job), sending=True)(
        dict.fromkeys(("clean", "data", "fields", "countdown", "given", "arguments"), "1") | {"send-countdown": "60"}
    )
    assert arguments(form) == {
        "clean": "1",
        "data": "1",
        "fields": "1",
        "countdown": 1,
        "given": "1",
        "arguments": "1",
    }
    assert form.sending.options() == {"countdown": 60}


def test_annotation_for_type_checkers_alone_costs_only_its_own_argument(task):
    """The others keep theirs."""

    def job(count: int, other: Nothing = 5) -> None: ...

    fields = form_for(task(job))().fields
    assert isinstance(fields["count"], forms.IntegerField)
    assert fields["other"].disabled


@pytest.mark.parametrize(
    ("annotation", "hint"),
    [
        (User, r"no message can carry a User; write Annotated\[int, User\]"),
        (list[dict], "expected one of str, int, float"),
        (int | dict, "expected one of"),
        (int | list[int], "each member must be simple"),
        (tuple[int, int], r"write tuple\[int, \.\.\.\]"),
        (list[list[int]], "the items of a list must be simple"),
        (list[Annotated[str, NAMES["StoredFile"]]], "a file is one text"),
        (complex, "expected one of"),
    ],
)
def test_argument_that_no_field_fits_is_named_with_what_to_do(taking, annotation, hint):
    """The error says which argument of which task, and what to write; a default makes do without a field."""
    with pytest.raises(
        NoForm, match=rf"No form field fits the argument value of .*forms\.job\d: .*{hint}.*Or give it a default"
    ):
        form_for(taking(annotation))
    form = form_for(taking(annotation, None))({"value": "x"})
    assert form.fields["value"].disabled
    assert arguments(form) == {}


@pytest.mark.parametrize("name", ["progress.ping", "no.such.task"])
def test_only_tasks_that_say_so_may_be_started(name):
    """Unknown tasks and tasks that are not declared runnable get the same answer."""
    with pytest.raises(NoSuchTask, match="runnable=True"):
        runnable_task(name)


def test_the_docstring_helps(task):
    """Its first paragraph stands above the form, what it says of an argument beside its field."""

    def google(file: str, limit: int = 3, kind: str = "") -> None:
        """Import a file,
        row by row.

        Not shown.

        Args:
            file (str): which one;
                as it was uploaded
            limit: how many: at most
        Returns:
            kind: nothing
        """

    def sphinx(file: str, limit: int = 3, kind: str = "") -> None:
        """Import a file, row by row.
        :param str file: which one;
            as it was uploaded
        :param limit: how many: at most
        :returns: nothing
        """

    for function in (google, sphinx):
        form = form_for(task(function))
        assert form.help == "Import a file, row by row."
        assert [field.help_text for field in form().fields.values()] == [
            "which one; as it was uploaded",
            "how many: at most",
            "",
        ]


def test_errors_of_lists_name_the_line(taking):
    """So that one wrong line among many is found."""
    form = bound(taking(list[int]), value="1\r\n\r\nx\r\n4.5")
    assert form.errors["value"] == ["Line 3: Enter a whole number.", "Line 4: Enter a whole number."]


# --- How it is sent


def test_how_it_is_sent_is_a_part_of_its_own(task):
    """Countdown, queue and priority stand below, and are no arguments."""
    form_class = form_for(task(with_defaults), sending=True)
    form = form_class({"sure": "on", "send-countdown": "60", "send-queue": "slow", "send-priority": "9"})
    assert arguments(form) == {}
    assert form.sending.options() == {"countdown": 60, "queue": "slow", "priority": 9}
    assert [heading for heading, _ in form.fieldsets()] == ["", "How it is sent"]
    assert [field.label for field in list(form.fieldsets())[1][1]] == ["Countdown", "Queue", "Priority"]
    assert form_class({"sure": "on"}).is_valid()
    wrong = form_class({"send-countdown": "-1", "send-priority": "10"})
    assert set(wrong.errors) == {"send-countdown", "send-priority"}


def test_queues_that_the_app_names_are_a_choice(app, task):
    """Where the app lists its queues no other can be written."""
    app.conf.task_queues = {"fast": {}, "slow": {}}
    form_class = form_for(task(with_defaults), sending=True)
    assert form_class({"send-queue": "slow"}).is_valid()
    assert set(form_class({"send-queue": "other"}).errors) == {"send-queue"}


# --- Starting again


KEPT: dict[str, Any] = {
    "given": {
        "count": 7,
        "share": "0.25",
        "at": "2026-02-03T04:05:06+00:00",
        "colour": "#f00",
        "days": [5],
        "name": "Ann",
    },
    "hidden": ["kind"],
    "left_out": ["rows", "sure", "gone"],
}


def test_form_is_filled_in_as_the_run_was_called(task):
    """With what was kept, sent again as it was, even where it is what the default says."""
    form_class = form_for(task(with_defaults), given=KEPT)
    shown = as_shown(form_class())
    assert (shown["count"], shown["at"], shown["colour"], shown["days"]) == ("7", "2026-02-03T04:05:06", ["RED"], "5")
    data = QueryDict(mutable=True)
    for name, value in {**shown, "kind": "quick", "rows": "1", "sure": "false"}.items():
        data.setlist(name, value if isinstance(value, list) else [value])
    assert arguments(form_class(data)) == {
        "count": 7,
        "share": Decimal("0.25"),
        "at": dt.datetime(2026, 2, 3, 4, 5, 6, tzinfo=dt.UTC),
        "colour": "#f00",
        "days": [5],
        "name": "Ann",
        "kind": "quick",
        "rows": [1],
        "sure": False,
    }


def test_what_was_not_kept_is_blank_and_required(task):
    """Though it has a default: to leave it out would start something else than was run."""
    form_class = form_for(task(with_defaults), given=KEPT)
    shown = as_shown(form_class())
    assert [shown[name] for name in ("kind", "rows", "sure")] == [[""], "", [""]]
    form = form_class(QueryDict("count=7"))
    assert {"kind", "rows", "sure"} <= set(form.errors)
    assert "gone" not in form.fields, "the task takes it no more"


def test_what_no_field_fits_is_sent_again_as_it_was(task):
    """It is shown and cannot be changed; the same goes for what went into ``*args`` and ``**kwargs``."""

    def job(rows: list[dict], *more: int, **others: Any) -> None: ...

    given = {"given": {"rows": [{"a": 1}], "more": [1, 2], "extra": {"b": 2}}, "hidden": ["token"], "left_out": []}
    form = form_for(task(job), given=given)({"rows": "x", "more": "y", "extra": "z", "token": "t"})
    found = arguments(form)
    assert found == {"rows": [{"a": 1}], "more": [1, 2], "extra": {"b": 2}, "token": "t"}
    assert call_of(job, found) == ([[{"a": 1}], 1, 2], {"extra": {"b": 2}, "token": "t"})


@pytest.mark.parametrize("missing", ["rows", "more"])
def test_what_was_not_kept_and_has_no_field_cannot_be_started_again(task, missing):
    """Better no form than one that starts something else."""

    def job(rows: list[dict] | None = None, *more: int) -> None: ...

    with pytest.raises(NoForm, match=missing):
        form_for(task(job), given={"given": {}, "hidden": [missing], "left_out": []})


def test_arguments_that_were_counted_are_given_their_names(task):
    """Whoever sent it did not know the signature."""
    given = {"given": {"0": 7}, "hidden": [], "left_out": ["2"]}
    form = form_for(task(with_defaults), given=given)({"count": "7"})
    assert set(form.errors) == {"name"}
    assert form.initial == {}
    assert form["count"].initial == 7


def test_value_that_no_longer_fits_is_asked_for(task):
    """The annotation was another one when the run was started."""

    def job(count: int = 3, kind: Literal["a"] = "a", days: list[int] = [1]) -> None: ...  # noqa: B006 (as people write)

    given = {"given": {"count": "seven", "kind": "b", "days": "x"}, "hidden": [], "left_out": []}
    assert set(form_for(task(job), given=given)({}).errors) == {"count", "kind", "days"}


def test_file_of_the_run_before_is_taken_again_unless_there_is_another(taking):
    """Its name was kept; the file is still in the storage."""
    task = taking(Annotated[str, NAMES["StoredFile"]])
    form_class = form_for(task, given={"given": {"value": "imports/a.csv"}, "hidden": [], "left_out": []})
    assert arguments(form_class({}, {})) == {"value": "imports/a.csv"}
    another = SimpleUploadedFile("b.csv", b"1")
    assert arguments(form_class({}, {"value": another})) == {"value": another}
    assert "imports/a.csv" in form_class().fields["value"].help_text


# --- Objects


class Searchable(ModelAdmin[Permission] if TYPE_CHECKING else ModelAdmin):
    search_fields = ("codename",)


class Unsearchable(ModelAdmin[Permission] if TYPE_CHECKING else ModelAdmin):
    """Django's own has none either."""


@pytest.fixture
def place(rf):
    """The admin with these classes, for a user with or without the right to see objects."""

    def make(model: Any, admin_class: Any, *, sees: bool = True) -> Place:
        site = AdminSite()
        site.register(model, admin_class)
        request = rf.get("/")
        request.user = User.objects.create_user("u", is_staff=True, is_superuser=sees)
        return Place(site, request)

    return make


@pytest.mark.django_db
def test_objects_are_searched_where_the_admin_can(taking, place, rf):
    """Django's own autocomplete field; without JavaScript the primary key is written."""
    found = form_for(taking(Annotated[int, Permission]), place=place(Permission, Searchable))({"value": ""})
    assert isinstance(found.fields["value"].widget, SearchedSelect)
    html = str(found["value"])
    assert 'data-app-label="auth"' in html
    assert '<noscript><input type="text" name="value"' in html
    pk = Permission.objects.first().pk
    written = QueryDict(f"value=&value={pk}")
    assert arguments(form_for(taking(Annotated[int, Permission]), place=Place())(written)) == {"value": pk}


@pytest.mark.django_db
def test_several_objects_are_searched_or_written(taking, place):
    """A list of primary keys, chosen or written with commas."""
    keys = list(Permission.objects.order_by("pk").values_list("pk", flat=True)[:3])
    task = taking(list[Annotated[int, Permission]])
    form_class = form_for(task, place=place(Permission, Searchable))
    assert isinstance(form_class().fields["value"].widget, SearchedSelects)
    for sent in (f"value={keys[0]}&value={keys[1]}&value={keys[2]}", f"value={','.join(map(str, keys))}"):
        assert sorted(arguments(form_class(QueryDict(sent)))["value"]) == keys
    assert sorted(arguments(form_for(task)(QueryDict(f"value={keys[0]}, {keys[1]}")))["value"]) == keys[:2]


@pytest.mark.django_db
def test_a_few_objects_are_a_list(taking, place):
    """Where the admin cannot search, and there are not many."""
    kinds = ContentType.objects.count()
    found = form_for(taking(Annotated[int, ContentType]), place=place(ContentType, Unsearchable))()
    assert len(found.fields["value"].choices) == kinds + 1


@pytest.mark.django_db
def test_search_is_not_along_a_relation_that_hides_objects(taking, place, monkeypatch):
    """One for staff only would find no others; then the objects are listed."""
    where = place(User, Searchable)
    for relation in User._meta.related_objects:
        monkeypatch.setattr(relation, "limit_choices_to", {"is_staff": True})
    field = form_for(taking(Annotated[int, User]), place=where)().fields["value"]
    assert type(field.widget) is forms.Select


@pytest.mark.django_db
def test_no_object_is_named_to_who_may_not_see_it(taking, place):
    """They write the primary key, and are told no more than whether there is one."""
    hidden = place(User, Searchable, sees=False)
    html = str(form_for(taking(Annotated[int, User]), place=hidden)()["value"])
    assert '<input type="text"' in html
    assert "<option" not in html
    form = form_for(taking(Annotated[int, User]))({"value": "99"})
    assert form.errors["value"] == ["There is no user with this primary key."]


@pytest.mark.django_db
def test_the_page_of_a_search_field_can_be_asked(taking, admin_client):
    """The address that the field asks answers with the objects."""
    user = User.objects.get(username="admin")
    from django.test import RequestFactory

    request = RequestFactory().get("/")
    request.user = user
    widget = form_for(taking(Annotated[int, User]), place=Place(site, request))().fields["value"].widget
    attrs = widget.build_attrs({})
    answer = admin_client.get(
        widget.get_url(),
        {
            "app_label": attrs["data-app-label"],
            "model_name": attrs["data-model-name"],
            "field_name": attrs["data-field-name"],
            "term": "adm",
        },
    )
    assert answer.json()["results"] == [{"id": str(user.pk), "text": "admin"}]


def test_lists_of_simple_values_are_lines(taking):
    """A list of yes and no, too."""
    form = bound(taking(list[bool]), value="true\r\nfalse")
    assert isinstance(form.fields["value"], LinesField)
    assert arguments(form) == {"value": [True, False]}
    assert arguments(bound(taking(list[uuid.UUID] | None), value="")) == {"value": None}
    assert isinstance(form_for(taking(bool | None))().fields["value"], ChoiceField)
