"""The start forms: their limits and their key."""

import uuid

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from tasks.forms import CountdownForm, ImportForm


def countdown(**changes) -> CountdownForm:
    return CountdownForm({"seconds": "20", "steps": "20", "once": str(uuid.uuid4()), **changes})


def upload(content: bytes = b"name\nAda\n", name: str = "customers.csv") -> ImportForm:
    return ImportForm({"once": str(uuid.uuid4())}, {"file": SimpleUploadedFile(name, content)})


@pytest.mark.parametrize(("seconds", "steps"), [("1", "1"), ("600", "1000"), ("20", "7")])
def test_countdowns_within_the_limits_are_taken(seconds, steps):
    """1 to 600 seconds, 1 to 1 000 steps."""
    form = countdown(seconds=seconds, steps=steps)
    assert form.is_valid()
    assert (form.cleaned_data["seconds"], form.cleaned_data["steps"]) == (int(seconds), int(steps))


@pytest.mark.parametrize(
    ("field", "value"),
    [("seconds", v) for v in ("0", "601", "-1", "1.5", "x", "", "9" * 4000)]
    + [("steps", v) for v in ("0", "1001", "x", "")],
)
def test_countdowns_beyond_the_limits_are_refused_at_their_field(field, value):
    """The mistake is shown where it was made."""
    form = countdown(**{field: value})
    assert not form.is_valid()
    assert set(form.errors) == {field}


@pytest.mark.parametrize("once", ["", "x", "00000000-0000-0000-0000-00000000000z"])
def test_a_form_without_its_key_is_refused_with_the_cure(once):
    """Nothing is started that could be started twice."""
    form = countdown(once=once)
    assert not form.is_valid()
    assert "Load the page again" in str(form.errors["once"])


def test_every_form_that_is_shown_has_a_key_of_its_own():
    """Two tabs start two runs; the key is in the page, hidden."""
    keys = {str(CountdownForm()["once"]) for _ in range(3)} | {str(ImportForm()["once"])}
    assert len(keys) == 4
    assert all('type="hidden"' in key for key in keys)


def test_two_forms_on_a_page_share_no_ids():
    """Labels point at their own field, also where both forms have one of that name."""
    assert CountdownForm()["once"].auto_id != ImportForm()["once"].auto_id


@pytest.mark.parametrize("name", ["customers.csv", "export.xlsx", "no extension", "😀.CSV"])
def test_the_name_of_a_file_decides_nothing(name):
    """Contents are judged by the worker, names by nobody."""
    assert upload(name=name).is_valid()


def test_a_file_beyond_the_size_limit_is_refused_with_both_sizes(settings):
    """The limit is a setting, and the message says what to do."""
    settings.UPLOAD_MAX_BYTES = 2048
    assert upload(b"x" * 2048).is_valid()
    form = upload(b"x" * 3072)
    assert not form.is_valid()
    (message,) = form.errors["file"]
    assert message == (
        "This file has 3.0\xa0KB; at most 2.0\xa0KB are taken. Split it, with the header line in each part."
    )


def test_an_empty_file_and_no_file_are_refused():
    """A missing or empty upload never reaches a worker."""
    assert "is empty" in str(upload(b"").errors["file"])
    assert "file" in ImportForm({"once": str(uuid.uuid4())}, {}).errors
