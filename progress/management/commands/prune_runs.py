"""``manage.py prune_runs``: remove old runs from the history."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from progress.conf import conf
from progress.history import forget_old


class Command(BaseCommand):
    """Delete rows of the history. The recorder does the same every hour by itself."""

    help = "Delete runs that were queued longer ago than --days (default: PROGRESS_HISTORY_RETENTION) and are over."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Arguments of the command."""
        parser.add_argument("--days", type=float, help="how old a run must be")

    def handle(self, *_args: Any, **options: Any) -> None:
        """Delete, a thousand at a time, so that nobody waits for a lock for long."""
        days = options["days"]
        if days is not None and days < 0:
            raise CommandError(f"--days must be 0 or more, got {days:g}.")
        seconds = conf.PROGRESS_HISTORY_RETENTION if days is None else int(days * 24 * 3600)
        if not seconds and days is None:
            raise CommandError("PROGRESS_HISTORY_RETENTION is 0, so runs are kept for ever: say --days.")
        self.stdout.write(f"{sum(forget_old(seconds))} runs deleted.")
