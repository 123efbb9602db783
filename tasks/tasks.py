"""The example jobs. Both say how far they are with a line or two, and both can be cancelled at any step."""

from __future__ import annotations

import math
import time
from functools import partial

from celery import shared_task
from celery.exceptions import Ignore

import progress

from .csv_rows import DELIMITERS, rows, sniff
from .customers import COLUMNS, Columns
from .decoding import Examination, Text
from .importing import Import, Superseded
from .models import Upload
from .refusals import Refused

CANCEL_WITHIN = 0.25  # seconds; how long a cancel may wait for a step that itself takes longer
BAD_ROWS_LOGGED = 50  # the import's page lists many more


# `ignore_result`: nobody asks Celery for the return value. Progress carries it to the page, and sending does
# not have to wait for the result backend.
@shared_task(name="tasks.countdown", throws=(Refused,), ignore_result=True)
@progress.options(title="Countdown of {seconds} s", unit="steps", runnable=True, show_error=True, show_result=True)
def countdown(seconds: int = 20, steps: int = 20) -> str:
    """Take `seconds` seconds, and say so in `steps` steps."""
    if seconds < 0 or steps < 1:
        raise Refused(f"seconds must be 0 or more and steps 1 or more, got {seconds} and {steps}.")
    began = time.monotonic()
    for step in progress.track(range(1, steps + 1)):
        # Held against the start, so that the small delays of the steps do not add up.
        _wait_until(began + seconds * step / steps, end=began + seconds)
    progress.update(message="Done")
    return f"Counted {steps} steps in {seconds} seconds."


def _wait_until(moment: float, end: float) -> None:
    while (now := time.monotonic()) < moment:
        left = math.ceil(end - now)
        # Raises if somebody has cancelled: here too, because a step may take ten minutes.
        progress.update(message=f"{left} seconds to go" if left != 1 else "1 second to go")
        time.sleep(min(moment - now, CANCEL_WITHIN))


@shared_task(name="tasks.import_csv", throws=(Refused,), ignore_result=True)
@progress.options(title="Import no. {upload_id}", show_error=True, show_result=True)
def import_csv(upload_id: int) -> str:
    """Read the customers in an uploaded CSV file, row by row, and store the good ones.

    Safe to run again: the rows of an earlier execution are replaced. Raises `Refused` when the file cannot be
    used; single bad rows are left out and listed. When it is cancelled, the batches stored so far stay.
    """
    upload = Upload.objects.filter(pk=upload_id).first()
    if upload is None:
        raise Refused("The uploaded file is gone: somebody deleted it. Upload it again.")
    progress.update(title=f"Import {upload.name}")
    job = Import(upload)
    try:
        with job.outcome():
            text = _check(job, size=upload.file.size)
            _store_rows(job, text)
    except Superseded:
        raise Ignore("Another execution of this import has taken over.") from None
    return _so_far(job)


def _check(job: Import, size: int) -> Text:
    """All bytes once: is it text, in which encoding, and how many lines has it?"""
    progress.update(total=size, unit="bytes", message="Checking the file, byte by byte")
    examination = Examination()
    for chunk in job.chunks():
        examination.feed(chunk)
        progress.advance(len(chunk))
    return examination.finish()


def _store_rows(job: Import, text: Text) -> None:
    """All rows once: the good ones stored in batches, the bad ones listed."""
    open_text = partial(job.open_text, text.encoding)
    delimiter, header = sniff(open_text, COLUMNS)
    columns = Columns(header)
    job.note(
        encoding=text.encoding,
        delimiter=DELIMITERS.get(delimiter, "none"),
        ignored_columns=columns.ignored,
    )
    progress.reset()  # from bytes to rows: the bar begins again
    progress.update(unit="rows", message="Reading rows")
    with open_text() as stream:
        found = rows(stream, delimiter)
        next(found)  # the header
        # A guess from the number of lines: too high when there are blank lines or line ends within quotes.
        for row in progress.track(found, total=text.lines - 1):
            try:
                job.add(row.line, columns.read(row))
            except ValueError as reason:
                job.add_bad(row.line, str(reason))
                if job.bad <= BAD_ROWS_LOGGED:
                    progress.log(f"Line {row.line}: {reason}", "WARNING")
            if job.batch_is_full:
                job.store_batch()
                progress.update(message=_so_far(job))
    job.store_batch()
    progress.update(total=job.stored + job.bad, message=_so_far(job))


def _so_far(job: Import) -> str:
    bad = f"; {job.bad:,} bad {'row' if job.bad == 1 else 'rows'} left out" if job.bad else ""
    return f"{job.stored:,} {'row' if job.stored == 1 else 'rows'} stored{bad}"
