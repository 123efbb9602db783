"""``manage.py watch ID``: a task's bar in the terminal."""

from __future__ import annotations

import asyncio
import json
import time
from argparse import ArgumentParser
from typing import IO, Any, Final, cast

from django.core.management.base import BaseCommand, CommandError
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn

from progress import snapshot
from progress.exceptions import StoreUnavailable
from progress.hub import Hub
from progress.outbox import Shown
from progress.redis_store import RedisStore
from progress.snapshot import FINAL, State
from progress.store import get_store
from progress.words import state_words

SUCCEEDED: Final = 0
FAILED: Final = 1
NOT_DONE: Final = 2  # lost, cancelled, ignored or rejected
NOT_FOUND: Final = 3
INTERRUPTED: Final = 130


class Command(BaseCommand):
    """Show a task's progress until it ends. Exits 0 done, 1 failed, 2 lost or not done, 3 not found."""

    help = (
        "Show a task's progress until it ends. Exits 0 on success, 1 on failure, 2 when it was lost, cancelled, "
        "ignored or rejected, 3 when there is no such task. Ctrl-C ends the watching, not the task."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Arguments of the command."""
        parser.add_argument("id", metavar="ID", help="the task's id")

    def handle(self, *_args: Any, **options: Any) -> None:
        """Watch, then exit with the status that tells how the task ended."""
        self.stdout.ending = ""  # rich writes its own line ends
        console = Console(file=cast("IO[str]", self.stdout), soft_wrap=True, highlight=False, markup=False)
        try:
            status = asyncio.run(_watch(snapshot.address(options["id"]), console))
        except KeyboardInterrupt:
            self.stderr.write("The task goes on; only the watching has ended.")
            raise SystemExit(INTERRUPTED) from None
        except StoreUnavailable as error:
            raise CommandError(f"{error} See: manage.py progress_doctor", returncode=NOT_FOUND) from None
        if status == NOT_FOUND:
            raise CommandError(f"There is no task {options['id']!r}, or not any more.", returncode=NOT_FOUND)
        if status:
            raise SystemExit(status)


class Bar:
    """Shows each snapshot on the console. To the hub it is one more watcher."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._row = progress.add_task("", total=None, start=False, message="")
        self._said = ""
        self._last: dict[str, Any] = {}
        self.ended = asyncio.Event()

    def progress_update(self, shown: Shown) -> None:
        """A newer snapshot. Who may read the server's Redis may see what staff sees."""
        self._show(json.loads(shown.staff))

    def task_found(self, key: str, record: Any) -> None:
        """Of no use here: one task is watched."""

    def _show(self, latest: dict[str, Any]) -> None:
        self._last = latest
        state, title = State(latest["state"]), latest.get("title") or latest.get("name") or ""
        fraction, message = latest.get("fraction"), latest.get("message") or ""
        if state not in snapshot.WAITING:
            self._progress.start_task(self._row)
        words = state_words(latest, time.time() * 1000)
        self._progress.update(
            self._row,
            description=f"{title} · {words}",
            total=None if fraction is None else 1,
            completed=fraction or 0,
            message=message,
        )
        self._say_once(f"{title} · {words}" + (f" · {message}" if message else ""))
        if state in FINAL or state == State.LOST:
            self.ended.set()

    def _say_once(self, line: str) -> None:
        # In a pipe or a log there is no bar to repaint; changes in words are lines.
        if not self._progress.console.is_terminal and line != self._said:
            self._progress.console.print(line)
            self._said = line

    def outcome(self) -> tuple[int, str]:
        """Exit status, and the last line."""
        state = State(self._last["state"])
        if state == State.SUCCESS:
            result = self._last.get("result")
            return SUCCEEDED, "" if result is None else str(result)
        error = self._last.get("error") or {}
        text = ": ".join(str(error[name]) for name in ("type", "message") if error.get(name))
        return FAILED if state == State.FAILURE else NOT_DONE, text


async def _watch(key: str, console: Console) -> int:
    store, hub = get_store(), Hub()
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[message]}", markup=False),
    )
    try:
        if not await hub.read([key]):
            return NOT_FOUND
        with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
            bar = Bar(progress)
            await hub.watch([key], bar)
            await bar.ended.wait()
        status, line = bar.outcome()
        if line:
            console.print(line)
        return status
    finally:
        await hub.close()
        if isinstance(store, RedisStore):
            await store.aclose()
