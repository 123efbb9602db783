"""Rows of a CSV text: their lines, their limits, their delimiter."""

import io
from contextlib import contextmanager

import pytest

from tasks.csv_rows import COLUMNS, ONE_COLUMN, ROW_CHARACTERS, Row, rows, sniff
from tasks.refusals import Refused

KNOWN = ("name", "email", "orders", "since")


def read(text: str, delimiter: str = ",") -> list[Row]:
    return list(rows(io.StringIO(text, newline=""), delimiter))


def sniffed(text: str) -> tuple[str, list[str]]:
    @contextmanager
    def open_text():
        yield io.StringIO(text, newline="")

    delimiter, header = sniff(open_text, KNOWN)
    return delimiter, header.fields


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_lines_are_physical_lines_also_behind_quoted_line_ends(ending):
    """A row's line is where it starts in an editor, however many line ends its fields and neighbours hold."""
    text = ending.join(["name,note", '"Ada","one', 'two"', "", "Bob,x", '"Cy","', "", '"', "Dee,y", "", ""])
    assert read(text) == [
        Row(1, ["name", "note"]),
        Row(2, ["Ada", f"one{ending}two"]),
        Row(5, ["Bob", "x"]),
        Row(6, ["Cy", ending * 2]),
        Row(9, ["Dee", "y"]),
    ]


def test_blank_lines_and_rows_of_empty_cells_are_left_out_but_counted():
    """Spreadsheets end files in rows of commas; those are no rows, and the lines stay right."""
    assert read("a,b\n\n  \n,,\n ,\t\nc,d\n\n\n") == [Row(1, ["a", "b"]), Row(6, ["c", "d"])]


def test_doubled_quotes_and_spaces_before_quotes_are_read():
    """What spreadsheets and people write comes out as meant."""
    assert read('"say ""hi""", "x, y"\n')[0].fields == ['say "hi"', "x, y"]


def test_text_behind_a_closing_quote_spoils_that_row_only():
    """Reading goes on behind a badly quoted row, and the reason says where its quote closed."""
    one, two, three = read('a,"b"c\n"d\ne"f,g\nh,i\n')
    assert (one.line, two.line, three) == (1, 2, Row(4, ["h", "i"]))
    assert one.problem.startswith("a quoted field closes and is followed by text")
    assert two.problem.startswith("a quoted field closes in line 3")


def test_an_unclosed_quote_is_refused_with_the_line_where_it_opens():
    """The rest of the file would be one field: nothing behind the quote can be trusted."""
    with pytest.raises(Refused, match=r"row of line 2 is never closed"):
        read('a,b\nc,"d\ne,f\n')


def test_an_unclosed_quote_in_a_large_file_is_refused_long_before_its_end():
    """Memory stays bounded: a field beyond the limit ends the reading."""
    text = io.StringIO('a,b\nc,"d\n' + "e,f\n" * 1_000_000, newline="")
    with pytest.raises(Refused, match=r"field in the row of line 2 is longer than 131,072 characters"):
        list(rows(text, ","))
    assert text.tell() < 200_000


def test_a_line_of_ten_megabytes_is_refused_without_reading_it_whole():
    """One endless line, as binary-like exports have it, costs a row's limit of memory and no more."""
    text = io.StringIO("name\n" + "x" * 10_000_000, newline="")
    with pytest.raises(Refused, match=r"row that ends in line 2 is longer than 1,000,000 characters"):
        list(rows(text, ","))
    assert text.tell() < 2 * ROW_CHARACTERS


def test_a_row_of_many_short_quoted_lines_is_refused_at_the_row_limit():
    """No field is too long and no line is; the row is."""
    text = io.StringIO('"a\n",' * ROW_CHARACTERS, newline="")
    with pytest.raises(Refused, match="longer than 1,000,000 characters"):
        list(rows(text, ","))


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_found_by_the_column_names(delimiter):
    """Other delimiters inside of names do not mislead, known names count more than many columns."""
    text = delimiter.join(["Name", "EMAIL", '"a,b;c|d,e;f|g"', "h,i,j"]) + "\n"
    expected = ["Name", "EMAIL", "a,b;c|d,e;f|g", "h,i,j"]
    if delimiter == ",":
        expected[3:] = ["h", "i", "j"]
    assert sniffed(text) == (delimiter, expected)


@pytest.mark.parametrize("text", ["name\nLovelace, Ada\n", "name", "\n\nname\r\nBob;x\r\n"])
def test_a_text_of_one_column_is_not_divided(text):
    """Where the header has no delimiter, commas in rows are part of the text."""
    assert sniffed(text) == (ONE_COLUMN, ["name"])


def test_rows_of_one_column_keep_their_commas_and_quotes():
    """One column means one field per row."""
    assert [row.fields for row in read('name\nLovelace, Ada\n"Bob; x"\n', ONE_COLUMN)] == [
        ["name"],
        ["Lovelace, Ada"],
        ["Bob; x"],
    ]


def test_without_known_names_the_delimiter_with_most_columns_wins():
    """The refusal that follows can then name the columns that the file has."""
    assert sniffed("vorname;nachname;ort\n") == (";", ["vorname", "nachname", "ort"])


def test_a_header_may_hold_quoted_line_ends():
    """The header is a row like any other."""
    assert sniffed('name,"first\nsecond"\nAda,x\n') == (",", ["name", "first\nsecond"])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("\n \n", "only blank lines"),
        ('"name,email\nAda,x\n', "line 1 is never closed"),
        ("name" + ",x" * COLUMNS, "1,001 columns; at most 1,000"),
        ('"name"x,"email"y\n', "header in line 1 cannot be read"),
    ],
)
def test_a_header_that_cannot_be_read_is_refused(text, reason):
    """Without column names no row means anything."""
    with pytest.raises(Refused, match=reason):
        sniffed(text)
