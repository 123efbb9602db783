"""Which rows are customers, and what is said about those that are not."""

import datetime as dt

import pytest

from tasks.csv_rows import Row
from tasks.customers import Columns
from tasks.refusals import Refused

HEADER = Row(1, ["name", "email", "orders", "since"])


def read(*fields: str, header: Row = HEADER) -> dict:
    return Columns(header).read(Row(2, list(fields)))


def test_a_full_row_is_read_into_typed_values():
    """Text is trimmed, numbers and dates are converted."""
    assert read(" Ada ", "ada@example.org ", "+12", "2019-12-10") == {
        "name": "Ada",
        "email": "ada@example.org",
        "orders": 12,
        "since": dt.date(2019, 12, 10),
    }


def test_optional_values_may_be_empty_or_missing_at_the_end():
    """A short row lacks its last cells, as spreadsheets write it."""
    assert read("Ada", "ada@example.org") == {
        "name": "Ada",
        "email": "ada@example.org",
        "orders": None,
        "since": None,
    }


def test_columns_are_found_by_name_in_any_order_and_case():
    """Header names are compared without case and spaces; other columns are ignored and listed."""
    columns = Columns(Row(1, ["City", " E-mail ", " EMAIL", "Name ", ""]))
    assert columns.ignored == ["City", "E-mail"]
    assert columns.read(Row(2, ["Ulm", "", "a@example.org", "Ada"])) == {
        "name": "Ada",
        "email": "a@example.org",
    }


def test_the_email_column_may_be_missing_but_not_its_values():
    """A file of names alone is a file of customers; an empty cell under "email" is an omission."""
    assert read("Ada", header=Row(1, ["name"])) == {"name": "Ada"}
    with pytest.raises(ValueError, match="email is missing"):
        read("Ada", "")


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        (("", "a@example.org"), "name is missing"),
        (("  ", "a@example.org"), "name is missing"),
        (("x" * 201, "a@example.org"), "name has 201 characters"),
        (("Ada", "ada(at)example.org"), "email “ada\\(at\\)example.org” is not an address"),
        (("Ada", "a@example.org", "-1"), "orders “-1” is not a whole number"),
        (("Ada", "a@example.org", "1.5"), "orders “1.5” is not a whole number"),
        (("Ada", "a@example.org", "1_000"), "orders “1_000” is not a whole number"),
        (("Ada", "a@example.org", "٣"), "orders “٣” is not a whole number"),
        (("Ada", "a@example.org", "2147483648"), "more than 2,147,483,647"),
        (("Ada", "a@example.org", "9" * 5000), "is not a whole number"),
        (("Ada", "a@example.org", "", "31.12.2023"), "since “31.12.2023” is not a date"),
        (("Ada", "a@example.org", "", "2023-02-29"), "since “2023-02-29” is not a date"),
        (("Ada", "a@example.org", "", "20230228"), "since “20230228” is not a date"),
        (("Ada", "a@example.org", "1", "2020-01-01", "more"), "has 5 fields, but the header has 4"),
    ],
)
def test_a_bad_row_is_told_its_reason(fields, reason):
    """Every rule that a row breaks is named, with the value that broke it."""
    with pytest.raises(ValueError, match=reason):
        read(*fields)


def test_all_reasons_of_a_row_are_told_at_once():
    """Nobody should have to upload three times to learn of three mistakes."""
    with pytest.raises(ValueError, match=r"^name is missing; email “x” is .*; orders “y” is .*; since “z” is"):
        read("", "x", "y", "z")


def test_a_long_wrong_value_is_quoted_short():
    """A reason stays a line, whatever is in the file."""
    with pytest.raises(ValueError, match="email") as caught:
        read("Ada", "x" * 100_000)
    assert len(str(caught.value)) < 80


def test_empty_cells_beyond_the_header_do_no_harm():
    """Trailing delimiters are no fields."""
    assert read("Ada", "a@example.org", "", "", "", " ")["name"] == "Ada"


def test_a_row_with_broken_quotes_is_bad_with_that_reason():
    """What the reader found wrong is what the user reads."""
    with pytest.raises(ValueError, match="a quoted field closes"):
        Columns(HEADER).read(Row(7, problem="a quoted field closes and is followed by text"))


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (["name", "email", "Name"], "names “name” more than once"),
        (["x", "X"], "names “x” more than once"),
        (["email", "orders"], "column “name” is missing"),
        (["vorname", "ort"], "“vorname”, “ort”; those that count are"),
        (["Ada", "ada@example.org", "12"], "header is missing: line 1 already looks like data"),
        (["1", "2020-01-01"], "header is missing"),
        ([f"c{n}" for n in range(900)], "“c4” and 895 more"),
    ],
)
def test_a_header_that_cannot_be_used_is_refused(header, reason):
    """The reason says which column is wrong and which were found; it fits into a snapshot."""
    with pytest.raises(Refused, match=reason) as caught:
        Columns(Row(1, header))
    assert len(str(caught.value).encode()) <= 500
