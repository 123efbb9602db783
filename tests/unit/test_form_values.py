"""What a form does with values: secrets are not shown, what was kept comes back exactly; unions, names of types."""

from __future__ import annotations

import datetime as dt
import enum
import itertools
import uuid
from decimal import Decimal
from typing import Annotated, Any, Literal, NewType

import pytest
from celery import Celery
from django import forms
from django.contrib.auth.models import User
from django.http import QueryDict

from progress import StoredFile
from progress.again import NotAgain, arguments_again, from_json
from progress.form_fields import UnionField
from progress.forms import NoForm, form_for

Cents = NewType("Cents", int)


class Size(enum.StrEnum):
    """A text that is one of a few."""

    SMALL = "s"


@pytest.fixture
def task():
    """A function as a task of an app of its own."""
    app, number = Celery("values", set_as_current=False, broker="memory://", backend="disabled://"), itertools.count()
    return lambda function: app.task(shared=False, name=f"values.job{next(number)}")(function)


@pytest.fixture
def taking(task):
    """A task with one argument, ``value``, annotated like this."""

    def make(annotation: Any) -> Any:
        def job(value) -> None: ...

        job.__annotations__["value"] = annotation
        return task(job)

    return make


def kept(**given: Any) -> dict[str, Any]:
    return {"given": given, "hidden": [], "left_out": []}


def submitted(form_class: Any, **changed: str) -> Any:
    """The form as a browser sends it: what it shows, but for what is `changed`."""
    data = QueryDict(mutable=True)
    for field in form_class():
        shown = field.field.widget.format_value(field.value())
        for value in shown if isinstance(shown, list) else ["" if shown is None else str(shown)]:
            data.update({field.html_name: value})
    for name, value in changed.items():
        data[name] = value
    return form_class(data)


def arguments(form: Any) -> dict[str, Any]:
    assert form.is_valid(), form.errors
    return dict(form.cleaned_data)


# --- Secrets


def test_secret_is_written_unseen_and_never_shown_again(task):
    """Not its default, not what was entered beside a mistake, in one line or several."""

    def job(api_key: str = "planted-1", tokens: list[str] | None = None, limit: int = 1) -> None: ...

    form_class = form_for(task(job))
    form = form_class({"api_key": "planted-2", "tokens": "planted-3\r\nplanted-4", "limit": "x"})
    assert set(form.errors) == {"limit"}
    assert isinstance(form.fields["api_key"].widget, forms.PasswordInput)
    assert "planted" not in f"{form_class()}{form}"
    assert arguments(form_class({"api_key": " a ", "tokens": "b", "limit": "1"})) == {
        "api_key": " a ",
        "tokens": ["b"],
    }
    assert arguments(form_class({"api_key": "", "tokens": "", "limit": "1"})) == {}


def test_secret_default_of_no_simple_kind_is_not_told(task):
    """Though other defaults that cannot be changed are."""

    def job(secret: dict[str, str] = {"a": "planted"}, rows: dict[str, int] = {"b": 5}) -> None: ...  # noqa: B006

    html = str(form_for(task(job))())
    assert "planted" not in html
    assert "always {&#x27;b&#x27;: 5}" in html


def test_secret_that_the_history_kept_is_asked_for_again(task):
    """Even where the site's own redaction let it pass: the page shows nothing of it."""

    def job(password: str = "", count: int = 1) -> None: ...

    form_class = form_for(task(job), given=kept(password="planted", count=2))
    assert "planted" not in str(form_class())
    assert set(form_class({"count": "2"}).errors) == {"password"}
    assert arguments(form_class({"count": "2", "password": "new"})) == {"password": "new", "count": 2}


def test_help_texts_are_text(task):
    """Not even in a template that prints them as they are: names of files are made by people."""

    def job(file: Annotated[str, StoredFile()], rows: list[int], other: complex = 1j) -> None:
        """Do it.

        :param rows: <b>numbers</b>
        """

    html = str(form_for(task(job), given=kept(file="<img src=x>.csv"))())
    assert "<img" not in html
    assert "<b>" not in html
    assert "Without another one: &lt;img src=x&gt;.csv" in html
    assert "&lt;b&gt;numbers&lt;/b&gt; One per line." in html
    assert "always 1j" in html


# --- Starting again, exactly


def all_kinds(
    text: str,
    share: float,
    price: Decimal,
    day: dt.date,
    at: dt.datetime,
    local: dt.datetime,
    time: dt.time,
    key: uuid.UUID,
    size: Size,
    kind: Literal["full", 3],
    days: list[dt.date],
    sizes: set[Size],
    limit: int | None = 3,
    anything=None,
) -> None: ...


CALLED: dict[str, Any] = {
    "text": "  two\nlines ",
    "share": 0.1,
    "price": Decimal("9.900"),
    "day": dt.date(2026, 11, 21),
    "at": dt.datetime(2026, 11, 21, 10, 30, 1, 234567, tzinfo=dt.UTC),
    "local": dt.datetime(2026, 11, 21, 10, 30, 1, 5),  # noqa: DTZ001 (as a site may send it)
    "time": dt.time(10, 30, 0, 7),
    "key": uuid.UUID("6f1c0e9a-7f0e-4f43-8d3c-0a4a2d0c9b11"),
    "size": "s",
    "kind": 3,
    "days": [dt.date(2026, 1, 2), dt.date(2026, 1, 1)],
    "sizes": ["s"],
    "limit": None,
    "anything": 5,
}
KEPT: dict[str, Any] = {
    **CALLED,
    "price": "9.900",
    "day": "2026-11-21",
    "at": "2026-11-21T10:30:01.234567+00:00",
    "local": "2026-11-21T10:30:01.000005",
    "time": "10:30:00.000007",
    "key": "6f1c0e9a-7f0e-4f43-8d3c-0a4a2d0c9b11",
    "days": ["2026-01-02", "2026-01-01"],
}


def test_what_is_left_as_it_was_is_sent_exactly_as_it_was(task):
    """With its microseconds, its spaces and its time zone or none, though a field shows less; None stays None."""
    form_class = form_for(task(all_kinds), given=kept(**KEPT))
    sent = arguments(submitted(form_class))
    assert sent == CALLED
    assert {name: type(value) for name, value in sent.items()} == {
        name: type(value) for name, value in CALLED.items()
    }


def test_what_is_changed_is_sent_as_changed(task):
    """The rest stays what it was."""
    form_class = form_for(task(all_kinds), given=kept(**KEPT))
    sent = arguments(submitted(form_class, day="2026-12-24", anything="six"))
    assert sent == {**CALLED, "day": dt.date(2026, 12, 24), "anything": "six"}


def test_argument_that_says_nothing_of_its_kind_takes_what_was_kept(task):
    """Texts and numbers can be written anew; the rest is shown and sent as it was."""

    def job(number, rows, flag=False) -> None: ...

    form_class = form_for(task(job), given=kept(number=5, rows=[{"a": 1}], flag="maybe"))
    assert form_class().fields["rows"].disabled
    assert arguments(submitted(form_class)) == {"number": 5, "rows": [{"a": 1}], "flag": "maybe"}


def test_what_was_kept_is_what_the_task_takes_without_a_form_too(task):
    """For many at once. What went into ``*args`` and ``**kwargs``, and what nothing is known of, is as it was."""
    assert arguments_again(task(all_kinds), kept(**KEPT)) == CALLED

    def job(day: dt.date, rows: dict[str, int], *more: int, **others: Any) -> None: ...

    again = arguments_again(task(job), kept(**{"0": "2026-11-21", "rows": {"a": 1}, "more": [1], "else": "b"}))
    assert again == {"day": dt.date(2026, 11, 21), "rows": {"a": 1}, "more": [1], "else": "b"}


@pytest.mark.parametrize(
    ("arguments_kept", "message"),
    [
        (None, "its arguments are not known"),
        ({**kept(day="2026-11-21"), "hidden": ["token"]}, "token was not kept"),
        ({**kept(day="2026-11-21"), "left_out": ["rows", "b"]}, "rows, b was not kept"),
        (kept(day="2026-11-21", gone="planted"), "takes no argument gone by now"),
        (kept(day="planted"), "day must be of another type by now"),
        (kept(day="2026-11-21", size="planted"), "size must be of another type by now"),
        (kept(size="s"), "also needs day by now"),
    ],
)
def test_run_that_cannot_be_started_as_it_was_says_why(task, arguments_kept, message):
    """With the name of the argument and without its value: who may start it again need not be allowed to see that."""

    def job(day: dt.date, size: Size = Size.SMALL) -> None: ...

    with pytest.raises(NotAgain, match=message) as refused:
        arguments_again(task(job), arguments_kept)
    assert "planted" not in str(refused.value)


# --- Unions, and other names of types


@pytest.mark.parametrize(
    ("annotation", "text", "value"),
    [
        (int | str, "5", 5),
        (str | int, "5", 5),
        (int | str, "five", "five"),
        (dt.date | Decimal, "2026-11-21", dt.date(2026, 11, 21)),
        (dt.date | Decimal, "1.50", Decimal("1.50")),
        (int | Literal["all"], "all", "all"),
        (Size | int | None, "SMALL", "s"),
        (Size | int | None, "", None),
        (bool | int, "yes", True),
        (bool | int, "7", 7),
    ],
)
def test_union_takes_the_first_that_fits(taking, annotation, text, value):
    """A text fits everything, so it is tried last; and what it took comes back as it was."""
    form_class = form_for(taking(annotation))
    assert isinstance(form_class().fields["value"], UnionField)
    sent = arguments(form_class({"value": text}))
    assert sent == {"value": value}
    assert type(sent["value"]) is type(value)
    told = value.isoformat() if isinstance(value, dt.date) else str(value) if isinstance(value, Decimal) else value
    if value is not None:
        again = arguments(submitted(form_for(taking(annotation), given=kept(value=told))))
        assert again == {"value": value}
        assert type(again["value"]) is type(value)


def test_union_that_nothing_fits_says_what_each_expects(taking):
    """One line for each of its types."""
    form = form_for(taking(int | dt.date))({"value": "soon"})
    assert form.errors["value"] == ["Enter a whole number.", "Enter a valid date."]


@pytest.mark.parametrize(
    ("annotation", "lines", "values"),
    [
        (list[bool], "yes\r\nFalse\r\n1", [True, False, True]),
        (list[int | str], "5\r\nfive", [5, "five"]),
    ],
)
def test_lines_are_read_like_the_fields(taking, annotation, lines, values):
    """Yes and no are words there; a union is one for each line."""
    form_class = form_for(taking(annotation))
    assert arguments(form_class({"value": lines})) == {"value": values}
    assert arguments(submitted(form_for(taking(annotation), given=kept(value=values)))) == {"value": values}


def test_word_that_is_neither_yes_nor_no_is_told_with_its_line(taking):
    """With what can be written."""
    form = form_for(taking(list[bool]))({"value": "true\nperhaps"})
    assert form.errors["value"] == ["Line 2: Write true or false, not “perhaps”."]


def test_a_new_name_for_a_type_is_that_type(taking):
    """`NewType` is for type checkers."""
    assert arguments(form_for(taking(Cents | None))({"value": "5"})) == {"value": 5}


@pytest.mark.parametrize("kind", [uuid.UUID, dt.date, dt.time, bool, str, int, Literal["5"], list[int]])
def test_kept_value_of_another_kind_is_asked_for(taking, kind):
    """Whatever JSON may have there instead."""
    for value in (5.5, {"a": 1}, [{}], None):
        form_class = form_for(taking(kind), given=kept(value=value))
        assert form_class()["value"].value() in (None, False)


@pytest.mark.django_db
def test_model_may_be_named_by_text(taking):
    """Where importing it would be a circle."""
    user = User.objects.create_user("u")
    task = taking(Annotated[int, "auth.User"])
    assert arguments(form_for(task)({"value": str(user.pk)})) == {"value": user.pk}
    assert set(form_for(task)({"value": str(user.pk + 1)}).errors) == {"value"}


@pytest.mark.parametrize("name", ["auth.Usher", "nowhere.User"])
def test_model_that_does_not_exist_is_told(taking, name):
    """Other texts in `Annotated` are for people."""
    with pytest.raises(NoForm, match=rf"'{name}' is no model .*write it as app_label\.Model"):
        form_for(taking(Annotated[int, name]))
    assert isinstance(form_for(taking(Annotated[int, "see auth.py"]))().fields["value"], forms.IntegerField)


def test_annotation_that_cannot_be_evaluated_has_no_form(task):
    """It says so, rather than taking any text for it."""

    def job(value: Missing) -> None: ...  # type: ignore[name-defined]  # noqa: F821

    with pytest.raises(NoForm, match=r"argument value of .*: its annotation 'Missing' cannot be evaluated"):
        form_for(task(job))


def test_kept_value_of_another_kind_is_refused(taking):
    """None of the types of a union fits it."""
    from progress.annotations import kind_of

    with pytest.raises(ValueError, match="x"):
        from_json(kind_of(int | dt.date), "x")
