"""Rows of a CSV text, one at a time, each with the physical line it starts in. Knows nothing of customers.

Quoted fields may contain line ends; ``"a""b"`` is a quote within quotes. Lines end in CRLF, LF or CR.
Limits are part of the contract, because an upload is hostile until read: a field may have 131 072 characters
(the `csv` module's own limit), a row a million, a header a thousand columns.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Final, TextIO

from .refusals import Refused

DELIMITERS: Final = {",": "comma", ";": "semicolon", "\t": "tab", "|": "vertical bar"}
# Stands for "no delimiter": in a text of one column, commas are part of the text. No text contains it.
ONE_COLUMN: Final = "\x1f"
ROW_CHARACTERS: Final = 1_000_000
COLUMNS: Final = 1_000


@dataclass(frozen=True, slots=True)
class Row:
    """One row as it stands in the file."""

    line: int  # physical line it starts in, counted from 1
    fields: list[str] = field(default_factory=list)
    problem: str = ""  # why it could not be read; "" = it could


class _Lines:
    """The physical lines of a stream, never more than one row of them in memory."""

    def __init__(self, stream: TextIO) -> None:
        self.number = 0  # of the line handed out last
        self.row_characters = 0
        self.ended = False
        self._stream = stream

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._stream.readline(ROW_CHARACTERS + 1)
        if not line:
            self.ended = True
            raise StopIteration
        self.number += 1
        self.row_characters += len(line)
        if self.row_characters > ROW_CHARACTERS:
            raise Refused(
                f"The row that ends in line {self.number:,} is longer than {ROW_CHARACTERS:,} characters. "
                "Is this a CSV file, with one row per line, and does every quote have its partner?"
            )
        return line


def rows(stream: TextIO, delimiter: str) -> Iterator[Row]:
    """The rows of `stream`, which must be opened with ``newline=""``; blank lines are left out.

    A row that breaks the rules of quoting is handed out with its `problem`, and reading goes on behind it.
    Raises `Refused` for what makes everything behind it doubtful: an unclosed quote, a field or row beyond
    the limits.
    """
    lines = _Lines(stream)
    reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=True, strict=True)
    while True:
        first = lines.number + 1
        lines.row_characters = 0
        try:
            fields = next(reader, None)
        except csv.Error as error:
            yield _unreadable(error, first, lines)
            continue
        if fields is None:
            return
        if any(value and not value.isspace() for value in fields):
            yield Row(first, fields)


def _unreadable(error: csv.Error, first: int, lines: _Lines) -> Row:
    if lines.ended:
        raise Refused(
            f"A quote that opens in the row of line {first:,} is never closed, so the rest of the file would "
            'be one field. Close it, or write a quote within a field twice ("").'
        ) from error
    if str(error).startswith("field larger"):
        raise Refused(
            f"A field in the row of line {first:,} is longer than {csv.field_size_limit():,} characters. "
            "Shorten it; if it looks short, a quote in that line has no partner."
        ) from error
    where = f"closes in line {lines.number:,} and" if lines.number > first else "closes and"
    reason = f"a quoted field {where} is followed by text: write a quote within a field twice"
    return Row(first, problem=reason)


def sniff(open_text: Callable[[], AbstractContextManager[TextIO]], known: Collection[str]) -> tuple[str, Row]:
    """The delimiter of a text, and its header row, read with it.

    The one that yields most of the `known` column names wins, then the one that yields most columns, then the
    first of `DELIMITERS`. A header that none of them divides is one column, and so are its rows.
    Raises `Refused` when the text has no row that can be read.
    """
    best: tuple[tuple[int, int], str, Row] | None = None
    problem: Refused | None = None
    for delimiter in DELIMITERS:
        try:
            with open_text() as stream:
                header = next(rows(stream, delimiter), None)
        except Refused as refusal:
            problem = problem or refusal
            continue
        if header is None:
            raise Refused("The file is empty: it has only blank lines. The first line must name the columns.")
        names = {name.strip().casefold() for name in header.fields}
        score = (len(names & set(known)), len(header.fields))
        if best is None or score > best[0]:
            best = (score, delimiter, header)
    if best is None:
        raise problem or Refused("The header could not be read.")
    (_, width), delimiter, header = best
    if header.problem:
        raise Refused(f"The header in line {header.line:,} cannot be read: {header.problem}.")
    if width > COLUMNS:
        raise Refused(f"The header has {width:,} columns; at most {COLUMNS:,} are read. Is this a CSV file?")
    return (delimiter if width > 1 else ONE_COLUMN), header
