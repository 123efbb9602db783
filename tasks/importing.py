"""Keeps what an import read: whole batches, once, and only on behalf of the newest execution.

A task can run twice: the broker delivers it again after an hour of silence or a lost worker, sometimes while
the first execution still runs. Each execution therefore takes the upload over with a mark of its own, starts
from no rows, and checks the mark in the transaction of every batch.
"""

from __future__ import annotations

import io
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, TextIO

from django.db import transaction
from django.utils import timezone

from progress import TaskCancelled

from .models import BadRow, Customer, Upload
from .refusals import Refused, Superseded

BATCH: Final = 1_000  # rows per transaction
BAD_ROWS_KEPT: Final = 1_000  # per upload; all of them are counted
BYTES_AT_ONCE: Final = 256 * 1024


class Import:
    """One execution of the import of one upload."""

    def __init__(self, upload: Upload) -> None:
        """Take over: from here on, no earlier execution can store anything. Its rows are gone."""
        self.stored = 0
        self.bad = 0
        self._upload = upload
        self._execution = uuid.uuid4()
        self._customers: list[Customer] = []
        self._bad_rows: list[BadRow] = []
        self._since_batch = 0
        with transaction.atomic():
            Upload.objects.filter(pk=upload.pk).update(
                execution=self._execution,
                state=Upload.State.RUNNING,
                refusal="",
                encoding="",
                delimiter="",
                ignored_columns=[],
                rows_stored=0,
                rows_bad=0,
                finished_at=None,
            )
            upload.customers.all().delete()
            upload.bad_rows.all().delete()

    def chunks(self) -> Iterator[bytes]:
        """The bytes of the file."""
        with self._upload.file.storage.open(self._upload.file.name, "rb") as raw:
            while chunk := raw.read(BYTES_AT_ONCE):
                yield chunk

    @contextmanager
    def open_text(self, encoding: str) -> Iterator[TextIO]:
        """The file as text, from its beginning, line ends as they are."""
        with self._upload.file.storage.open(self._upload.file.name, "rb") as raw:
            text = io.TextIOWrapper(raw, encoding=encoding, newline="")
            try:
                yield text
            finally:
                text.detach()

    def note(self, **fields: Any) -> None:
        """Set fields of the upload. Raises `Superseded`."""
        if not Upload.objects.filter(pk=self._upload.pk, execution=self._execution).update(**fields):
            raise Superseded

    def add(self, line: int, values: dict[str, Any]) -> None:
        """A good row."""
        self._since_batch += 1
        self._customers.append(Customer(upload=self._upload, line=line, **values))

    def add_bad(self, line: int, reason: str) -> None:
        """A row that is left out."""
        self._since_batch += 1
        self.bad += 1
        if self.bad <= BAD_ROWS_KEPT:
            self._bad_rows.append(BadRow(upload=self._upload, line=line, reason=reason))

    @property
    def batch_is_full(self) -> bool:
        """True when it is time to `store_batch`."""
        return self._since_batch >= BATCH

    def store_batch(self) -> None:
        """Store what was added since the last call, all of it or nothing. Raises `Superseded`."""
        stored = self.stored + len(self._customers)
        with transaction.atomic():
            # First, because it locks the upload's row: nobody can take over until this batch is in.
            self.note(rows_stored=stored, rows_bad=self.bad)
            Customer.objects.bulk_create(self._customers)
            BadRow.objects.bulk_create(self._bad_rows)
        self.stored = stored
        self._customers, self._bad_rows, self._since_batch = [], [], 0

    @contextmanager
    def outcome(self) -> Iterator[None]:
        """Records how the work inside ended. What it raises is raised on."""
        states = Upload.State
        try:
            yield
        except Superseded:
            raise
        except Refused as refusal:
            self._end(states.REFUSED, refusal=str(refusal))
            raise
        except TaskCancelled:
            self._end(states.CANCELLED)
            raise
        except Exception:
            self._end(states.FAILED)
            raise
        self._end(states.DONE)

    def _end(self, state: Upload.State, **fields: Any) -> None:
        Upload.objects.filter(pk=self._upload.pk, execution=self._execution).update(
            state=state, finished_at=timezone.now(), **fields
        )
