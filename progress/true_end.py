"""How a task ended in fact that is about to be presumed lost, as a server can find out."""

from __future__ import annotations

from django.db import connections

from . import result_backend
from .record import Record
from .store import Write


def true_end(key: str, record: Record) -> Write | None:
    """What our history or the result backend knows; None: nothing. For a thread of its own, whose connections end."""
    from . import history  # a table: this module is known to test suites before Django's apps are

    try:
        return history.end_of(key, record) or result_backend.end_of(key, record)
    finally:
        connections.close_all()
