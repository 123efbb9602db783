"""Writes an export's file: whole or not at all, and only on behalf of the newest execution.

Lines go into a file with a name of its own. When the last one is on the disk, that file is given its final name, in
one step, and the row learns it. Whatever ends the writing before that takes the file away. Only a killed process
leaves one behind; `delete_old_exports` finds it.
"""

from __future__ import annotations

import csv
import gzip
import io
import os
import time
import uuid
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Final

from django.conf import settings
from django.utils import timezone

from .models import Export, Order
from .refusals import Superseded

FOLDER: Final = "exports"
UNFINISHED: Final = ".part"
HEADER: Final = ("number", "placed_on", "customer", "article", "amount")
# A spreadsheet takes a cell that begins with one of these for a formula, and runs it.
_FORMULA_SIGNS: Final = tuple("=+-@\t\r")
_PRIVATE: Final = 0o600


def take_over(export: Export) -> uuid.UUID:
    """The mark of a new execution: from here on, no earlier one can finish this export."""
    execution = uuid.uuid4()
    Export.objects.filter(pk=export.pk).update(execution=execution)
    return execution


def write_file(export: Export, execution: uuid.UUID, orders: Iterable[Order]) -> int:
    """Write all `orders` and give the export its file; the answer is how many there were.

    When that does not end well, by whatever exception, there is no file. Raises `Superseded` when another execution
    has taken over meanwhile, or the export was deleted.
    """
    folder = _folder()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    unfinished = folder / f"{uuid.uuid4().hex}{UNFINISHED}"
    try:
        with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _PRIVATE), "wb") as raw:
            rows = _write_lines(raw, orders, compressed=export.compressed)
            raw.flush()
            os.fsync(raw.fileno())
        _finish(export, execution, unfinished, rows)
    except BaseException:  # a cancel too, which is no Exception
        unfinished.unlink(missing_ok=True)
        raise
    return rows


def _write_lines(raw: BinaryIO, orders: Iterable[Order], *, compressed: bool) -> int:
    rows = 0
    # No file name and no time in the archive: equal orders make equal files.
    packed = gzip.GzipFile("", "wb", fileobj=raw, mtime=0) if compressed else raw
    # The mark at the beginning tells spreadsheets that this is UTF-8.
    text = io.TextIOWrapper(packed, encoding="utf-8-sig", newline="")
    lines = csv.writer(text)
    lines.writerow(HEADER)
    for order in orders:
        lines.writerow((order.number, order.placed_on, _cell(order.customer), _cell(order.article), order.amount))
        rows += 1
    text.detach()  # written out, and `raw` stays open
    if packed is not raw:
        packed.close()
    return rows


def _cell(text: str) -> str:
    return f"'{text}" if text.startswith(_FORMULA_SIGNS) else text


def _finish(export: Export, execution: uuid.UUID, unfinished: Path, rows: int) -> None:
    name = f"{FOLDER}/{unfinished.stem}.csv" + (".gz" if export.compressed else "")
    final = Path(Export.file.field.storage.path(name))
    size = unfinished.stat().st_size
    unfinished.rename(final)
    mine = Export.objects.filter(pk=export.pk, execution=execution)
    if not mine.update(file=name, size=size, rows=rows, finished_at=timezone.now()):
        final.unlink()
        raise Superseded


def delete_old_exports() -> int:
    """Delete the exports that are older than ``PROGRESS_RETENTION``, with their files; the answer is how many.

    Files that belong to no export, as a killed process leaves them, go when they are as old.
    """
    past = Export.objects.past()
    number = len(past)
    for export in past:
        export.delete()  # one by one: each takes its file along
    oldest = time.time() - settings.PROGRESS_RETENTION
    for path in _folder().glob("*"):
        with suppress(FileNotFoundError):  # somebody else tidies up as well
            if path.stat().st_mtime < oldest and not Export.objects.filter(file=f"{FOLDER}/{path.name}").exists():
                path.unlink()
    return number


def _folder() -> Path:
    return Path(Export.file.field.storage.path(FOLDER))
