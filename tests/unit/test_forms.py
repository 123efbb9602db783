"""A task's form: every simple annotation becomes a field, and what it gives back can be sent."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import pytest
from celery import shared_task
from django import forms

import progress
from progress.forms import NoForm, NoSuchTask, form_for, runnable_task


@shared_task(name="tests.forms.everything")
@progress.options(runnable=True)
def everything(
    text: str,
    count: int,
    share: float,
    sure: bool,
    price: Decimal,
    day: dt.date,
    moment: dt.datetime,
    note: str | None = None,
    times=3,
) -> None:
    """Take one of each."""


@shared_task(name="tests.forms.odd")
@progress.options(runnable=True)
def odd(rows: list[dict]) -> None:
    """Take what no field can hold."""


@shared_task(name="tests.forms.hidden")
def hidden(count: int) -> None:
    """Is not declared runnable."""


GOOD = {
    "text": "a",
    "count": "2",
    "share": "0.5",
    "sure": "on",
    "price": "9.90",
    "day": "2026-11-21",
    "moment": "2026-11-21 10:00",
}


@pytest.mark.parametrize(
    ("argument", "field", "bad"),
    [
        ("text", forms.CharField, ""),
        ("count", forms.IntegerField, "two"),
        ("share", forms.FloatField, "half"),
        ("price", forms.DecimalField, "cheap"),
        ("day", forms.DateField, "someday"),
        ("moment", forms.DateTimeField, "soon"),
        ("times", forms.IntegerField, "often"),
    ],
)
def test_annotation_decides_the_field_and_bad_values_are_told_beside_it(argument, field, bad):
    """Each simple type has its field; a value it cannot take is an error of that field alone."""
    form = form_for(everything)({**GOOD, argument: bad})
    assert isinstance(form.fields[argument], field)
    assert set(form.errors) == {argument}


def test_what_a_form_gives_back_can_be_sent_as_json():
    """Numbers and booleans stay, decimals and dates travel as text, what was left empty is not sent."""
    form = form_for(everything)(GOOD)
    assert form.is_valid(), form.errors
    assert form.cleaned_data == {
        "text": "a",
        "count": 2,
        "share": 0.5,
        "sure": True,
        "price": "9.90",
        "day": "2026-11-21",
        "moment": "2026-11-21 10:00:00+00:00",
    }


def test_argument_that_no_field_fits_is_named_with_what_to_do():
    """The error says which argument of which task, and which types there are."""
    with pytest.raises(NoForm, match=r"tests\.forms\.odd: no form field fits the argument rows.*Use one of str, int"):
        form_for(odd)


@pytest.mark.parametrize("name", ["tests.forms.hidden", "no.such.task"])
def test_only_tasks_that_say_so_may_be_started(name):
    """Unknown tasks and tasks that are not declared runnable get the same answer."""
    with pytest.raises(NoSuchTask, match="runnable=True"):
        runnable_task(name)
