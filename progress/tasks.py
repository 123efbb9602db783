"""The one task that `progress` brings: `progress_doctor` sends it to see whether the whole chain holds."""

from __future__ import annotations

from celery import shared_task

from .functions import update
from .options import options

PING = "progress.ping"


@shared_task(name=PING, ignore_result=True)  # type: ignore[untyped-decorator]
@options(title="Check of every link")
def ping() -> None:
    """Report once and end. Nobody owns it, so its record is gone after ten minutes."""
    update(current=1, total=1, message="A worker has run this")
