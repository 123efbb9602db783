"""``manage.py record_runs``: write the history in a process of its own."""

from __future__ import annotations

import signal
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError

from progress.conf import conf
from progress.exceptions import StoreUnavailable
from progress.recorder import Recorder


class Command(BaseCommand):
    """Write runs into the history until it is told to end. Several may run, also beside servers."""

    help = "Write the history of runs (TaskRun) until SIGTERM or Ctrl-C. With --once only what is waiting."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Arguments of the command."""
        parser.add_argument("--once", action="store_true", help="write what is waiting, say how much, and end")

    def handle(self, *_args: Any, **options: Any) -> None:
        """Record."""
        if not conf.PROGRESS_RECORDER:
            raise CommandError('PROGRESS_RECORDER is empty, so nothing is told: set it to "server" or "command".')
        recorder = Recorder()
        if options["once"]:
            self._once(recorder)
            return
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: recorder.stop())
        recorder.run()

    def _once(self, recorder: Recorder) -> None:
        try:
            written = recorder.record_once()
        except StoreUnavailable as error:
            raise CommandError(f"{error} See: manage.py progress_doctor") from None
        except DatabaseError as error:
            raise CommandError(f"The database does not take it: {error}. Run manage.py migrate?") from None
        self.stdout.write(f"{written} changes written.")
