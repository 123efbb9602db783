"""``manage.py progress_doctor``: is every link between a task and its bar whole? If not: which, and what to do."""

from __future__ import annotations

import time
from argparse import ArgumentParser
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, Final, cast

from django.core.management.base import BaseCommand
from rich.console import Console
from rich.text import Text

from progress.management.broken import Broken
from progress.management.links import AGAIN, LINKS, Link

PATIENCE: Final = 10.0  # seconds for all links together, unless --wait says otherwise
SINGLE_TRY: Final = 2.0  # seconds that each link gets, even when the time is up


class Command(BaseCommand):
    """Check Redis, the channel layer, a worker, and a real task end to end. Exits 0 or 1."""

    help = __doc__
    requires_system_checks = ()  # it tells what is wrong itself, and starts sooner

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Arguments of the command."""
        parser.add_argument(
            "--wait",
            type=float,
            default=PATIENCE,
            metavar="SECONDS",
            help="how long all links together may take before they count as broken (default: %(default)s)",
        )
        parser.add_argument(
            "--logs",
            type=Path,
            metavar="FOLDER",
            help="where the services write <service>.log; named beside a broken link",
        )

    def handle(self, *_args: Any, **options: Any) -> None:
        """Check every link in the order in which progress flows back."""
        self.stdout.ending = ""  # rich writes its own line ends
        self._console = Console(file=cast("IO[str]", self.stdout), soft_wrap=True, highlight=False)
        deadline = time.monotonic() + options["wait"]
        broken = 0
        for link in LINKS:
            if broken and link.needs_others:
                self._line("–", "yellow", link.name, "not tried: it needs all links above")
                continue
            try:
                self._line("✓", "green", link.name, _patiently(link.check, deadline))
            except Broken as fault:
                broken += 1
                self._explain(link, fault, options["logs"])
        if broken:
            raise SystemExit(1)

    def _line(self, mark: str, colour: str, name: str, text: str) -> None:
        self._console.print(Text.assemble((mark, colour), " ", (f"{name}: ", "bold"), text))

    def _explain(self, link: Link, fault: Broken, logs: Path | None) -> None:
        self._line("✗", "red", link.name, "broken")
        details = [("expected", fault.expected), ("got", fault.got), ("what to do", fault.mend)]
        if logs is not None:
            details.append(("log", str(logs / f"{link.service}.log")))
        for name, text in details:
            self._console.print(Text.assemble("    ", (f"{name}: ", "bold"), text))


def _patiently(check: Callable[[float], str], deadline: float) -> str:
    while True:
        left = deadline - time.monotonic()
        try:
            return check(max(left, SINGLE_TRY))
        except Broken:
            if deadline - time.monotonic() < AGAIN:
                raise
            time.sleep(AGAIN)
