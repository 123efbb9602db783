"""``manage.py delete_old_exports``: for a timer, on a site where days pass between two exports."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from tasks.exporting import delete_old_exports


class Command(BaseCommand):
    """Every export does the same when it begins; this does it now."""

    help = "Delete the exports that are older than PROGRESS_RETENTION, with their files."

    def handle(self, *args: Any, **options: Any) -> None:
        """Print how many there were."""
        number = delete_old_exports()
        self.stdout.write(f"{number} old {'export' if number == 1 else 'exports'} deleted.")
