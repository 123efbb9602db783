"""The start forms: their limits and their key."""

import re
import uuid

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from tasks.forms import CountdownForm, ExportForm, FeedForm, ImportForm, InstallForm, TailForm


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


# --- Exports, rollouts, logs, feeds --------------------------------------------------------------------------


def filled(form, **fields):
    return form({"once": str(uuid.uuid4()), **fields})


@pytest.mark.parametrize(
    ("first", "last", "valid"),
    [
        ("", "", True),
        ("2024-01-01", "", True),
        ("", "2024-01-01", True),
        ("2024-01-01", "2024-01-01", True),
        ("2024-01-02", "2024-01-01", False),
        ("2024-02-30", "2024-01-01", False),
    ],
)
def test_an_export_ends_no_earlier_than_it_begins(first, last, valid):
    """One day is a time; a day that is none is told as that, and not as too early."""
    form = filled(ExportForm, at_least="1", placed_from=first, placed_until=last)
    assert form.is_valid() is valid
    if not valid:
        assert set(form.errors) == {"placed_from" if first == "2024-02-30" else "placed_until"}


@pytest.mark.parametrize("value", ["-1", "200001", "x", ""])
def test_orders_beyond_the_limits_are_refused(value):
    """Nobody fills the database with a number."""
    assert set(filled(ExportForm, at_least=value).errors) == {"at_least"}


@pytest.mark.parametrize(
    "text", ["web-1 web-2", "web-1\nweb-2\n", " web-1,web-2 ; WEB-1", "web-1\r\n\r\nweb-2", "web-1\tweb-2"]
)
def test_names_may_be_written_as_people_write_lists(text):
    """One per line, with commas, in capitals, twice: the same names, in their order."""
    form = filled(InstallForm, hosts=text, packages="nginx")
    assert form.is_valid(), form.errors
    assert form.cleaned_data["hosts"] == ["web-1", "web-2"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "required"),
        (" , ;\n", "required|at least one name"),
        ("web_1", "“web_1”: expected names such as web-1.example.org."),
        ("ok a_1 b_2 c_3 d_4", "“a_1”, “b_2”, “c_3”: expected"),
        ("x" * 300, "“" + "x" * 40 + "”"),
        ("<script>", "“<script>”"),
        (" ".join(f"web-{number}" for number in range(21)), "21 names; at most 20"),
        ("x " * 6000, "at most 10000"),
    ],
)
def test_names_that_cannot_be_used_are_named(text, reason):
    """Quoted short, the first three of them."""
    (message,) = filled(InstallForm, hosts=text, packages="nginx").errors["hosts"]
    assert re.search(reason, message)


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a\0b", "", " ", "x" * 201])
def test_names_that_lead_out_of_the_folder_are_refused_at_their_field(name):
    """Before any worker is asked."""
    assert set(filled(TailForm, file=name, minutes="1", last="1").errors) == {"file"}


def test_a_log_that_does_not_exist_yet_can_be_followed(settings, tmp_path):
    """It may come; its name is made plain."""
    settings.TAIL_LOG_FOLDER = tmp_path / "none"
    form = filled(TailForm, file=" ./new//a.log ", minutes="1", last="0")
    assert form.is_valid(), form.errors
    assert form.cleaned_data["file"] == "new/a.log"
    assert "There is none now." in form.fields["file"].help_text


def test_files_that_are_there_are_offered(settings, tmp_path):
    """As a list to choose from, with text as text."""
    settings.TAIL_LOG_FOLDER = tmp_path
    for name in ("web.log", 'odd"><b>.log'):
        (tmp_path / name).touch()
    field = str(TailForm()["file"])
    assert 'list="tail-file_names"' in field
    assert '<datalist id="tail-file_names">' in field
    assert '<option value="web.log"></option>' in field
    assert "<b>" not in field


def test_feeds_within_the_limits_are_taken():
    """And no others."""
    assert filled(FeedForm, entries="500", at_once="32", breaks_after="0").is_valid()
    wrong = filled(FeedForm, entries="501", at_once="0", breaks_after="501")
    assert set(wrong.errors) == {"entries", "at_once", "breaks_after"}
