"""The example jobs. Each says how far it is with a line or two, and can be cancelled at any step.

What they do stands in modules of its own; here it is told how far it is. `jobs` gives each its form.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Iterable
from contextlib import aclosing
from functools import partial
from typing import Any

from celery import shared_task
from celery.exceptions import Ignore
from django.conf import settings

import progress

from . import rollouts
from .csv_rows import DELIMITERS, rows, sniff
from .customers import COLUMNS, Columns
from .decoding import Examination, Text
from .exporting import delete_old_exports, take_over, write_file
from .feed import BrokenOff, Entry, Feed, fetch_all
from .feed_copy import keep, kept_by
from .folders import NotAllowed
from .following import Follower, level_of
from .hosts import CannotInstall, Host, NoAnswer
from .importing import Import
from .models import Export, Installation, Rollout, Upload
from .orders import make_up_orders, orders_of
from .refusals import Refused, Superseded

CANCEL_WITHIN = 0.25  # seconds; how long a cancel may wait for a step that itself takes longer
BAD_ROWS_LOGGED = 50  # the import's page lists many more
# Twice, two seconds later; what the first attempt has done stays done.
TRIED_AGAIN: dict[str, Any] = {"bind": True, "max_retries": 2, "default_retry_delay": 2, "ignore_result": True}


# `ignore_result`: nobody asks Celery for the return value. Progress carries it to the page, and sending does
# not have to wait for the result backend.
@shared_task(name="tasks.countdown", throws=(Refused,), ignore_result=True)
@progress.options(title="Countdown of {seconds} s", unit="steps", runnable=True, show_error=True, show_result=True)
def countdown(seconds: int = 20, steps: int = 20) -> str:
    """Count down, and say so at every step. Start it as it is, or change how long it takes."""
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
    """Read the customers in a CSV file, row by row. Good rows are stored, bad ones listed with their reasons.

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
    bad = f"; {_count(job.bad, 'bad row')} left out" if job.bad else ""
    return f"{_count(job.stored, 'row')} stored{bad}"


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number:,} {one if number == 1 else many or one + 's'}"


@shared_task(name="tasks.export_orders", throws=(Refused,), ignore_result=True)
@progress.options(title="Export of orders", unit="orders", show_error=True, show_result=True)
def export_orders(export_id: int) -> str:
    """Write your orders into a file that only you can download. It is there when it is whole, or not at all.

    Safe to run again: the newest execution writes the file. Raises `Refused` when there is nothing to export.
    """
    delete_old_exports()
    export = Export.objects.select_related("owner").filter(pk=export_id).first()
    if export is None:
        raise Refused("This export was deleted, or it has waited for so long that it is past. Start a new one.")
    execution = take_over(export)
    progress.update(title=f"Export {export.name}")
    progress.stages({"make up orders": 1, "write the file": 2})
    with progress.stage("make up orders"):
        for made in make_up_orders(export.owner, export.at_least):
            progress.update(current=made, total=export.at_least, message="Making up orders")
    orders = orders_of(export.owner, export.placed_from, export.placed_until)
    number = orders.count()
    if not number:
        raise Refused("You have no orders of these days. Choose other days, or let some be made up.")
    try:
        with progress.stage("write the file"):
            progress.update(message="Writing the file")
            written = write_file(export, execution, progress.track(orders.iterator(), total=number))
    except Superseded:
        raise Ignore("Another execution of this export has taken over.") from None
    return f"{_count(written, 'order')} exported."


@shared_task(name="tasks.install_software", throws=(Refused,), ignore_result=True)
@progress.options(title="Install software", unit="tasks sent", show_error=True, show_result=True)
def install_software(rollout_id: int) -> str:
    """Install packages on several hosts, each host a task of its own. The hosts are simulated: nothing is installed.

    Safe to run again: a host that was sent its task gets no second one. When it is cancelled, so is what it has
    sent; to call off the rest later, see `rollouts.stop`.
    """
    rollout = Rollout.objects.filter(pk=rollout_id).first()
    if rollout is None:
        raise Refused("This rollout was deleted. Start a new one.")
    hosts = rollout.installations.count()
    progress.update(title=f"Install {', '.join(rollout.packages)} on {_count(hosts, 'simulated host')}")
    number = 0
    try:
        for part in progress.track(rollouts.not_sent(rollout), total=hosts):
            arguments = {"installation_id": part.pk, "host": part.host}
            install_on_host.apply_async(kwargs=arguments, task_id=str(part.task_id))
            rollouts.sent(part)
            number += 1
    except progress.TaskCancelled:
        rollouts.stop(rollout)
        raise
    return f"Sent to {_count(number, 'host')}. Each of them goes on by itself."


@shared_task(name="tasks.install_on_host", throws=(Refused, NoAnswer, CannotInstall), **TRIED_AGAIN)
@progress.options(title="{host}", unit="MB", show_error=True, show_result=True)
def install_on_host(self: Any, installation_id: int, host: str) -> str:
    """Install the packages of a rollout on one simulated host, one stage each.

    A host that does not answer is tried again; what is installed by then stays. Ends cancelled when the rollout
    was called off.
    """
    part = Installation.objects.select_related("rollout").filter(pk=installation_id).first()
    if part is None:
        raise Refused("This rollout was deleted.")
    simulated, off = Host(host), rollouts.CallingOff(part.rollout_id)
    off.check()
    progress.update(message="Connecting")
    try:
        simulated.connect(attempt=self.request.retries + 1)
    except NoAnswer as error:
        raise self.retry(exc=error) from None
    packages = part.rollout.packages
    progress.stages({package: simulated.size(package) for package in packages})
    for package in packages:
        with progress.stage(package):
            if package in part.installed:
                continue
            progress.update(message=f"Installing {package}")
            for _ in progress.track(simulated.install(package), total=simulated.size(package)):
                off.check()
        rollouts.done(part, package)
    return f"{_count(len(packages), 'package')} installed."


@shared_task(name="tasks.tail_log", throws=(Refused,), ignore_result=True)
@progress.options(title="Follow {file}", unit="lines", runnable=True, show_error=True, show_result=True)
def tail_log(file: str, minutes: float = 10, last: int = 10) -> str:
    """Follow a log file: its lines appear in the log of this job, until you cancel it or the time is over.

    Reads below the folder that the setting ``TAIL_LOG_FOLDER`` names, nowhere else. Raises `Refused` for a name that
    leads out of it and for a file that cannot be read. A file that is not there yet is waited for.
    """
    try:
        number = _follow(Follower(settings.TAIL_LOG_FOLDER, file, last), time.monotonic() + minutes * 60)
    except NotAllowed as error:
        raise Refused(str(error)) from None
    except OSError as error:
        raise Refused(f"{file} cannot be read: {error.strerror}.") from None
    return f"{_count(number, 'line')} in {minutes:g} min."


def _follow(follower: Follower, until: float) -> int:
    number = 0
    try:
        while time.monotonic() < until:
            number += _show(follower.look())
            if follower.note:
                progress.log(follower.note, "NOTE")
                follower.note = ""
            # Raises if somebody has cancelled: also while no line comes.
            progress.update(number, message="Following" if follower.is_there else "Waiting for the file")
            time.sleep(CANCEL_WITHIN)
    finally:
        number += _show(follower.close())
    progress.update(number)
    return number


def _show(lines: Iterable[str]) -> int:
    number = 0
    for line in lines:
        progress.log(line, level_of(line))
        number += 1
    return number


@shared_task(name="tasks.sync_feed", throws=(Refused, BrokenOff), autoretry_for=(BrokenOff,), **TRIED_AGAIN)
@progress.options(title="Sync the feed", unit="entries", runnable=True, show_error=True, show_result=True)
def sync_feed(self: Any, entries: int = 120, at_once: int = 8, breaks_after: int = 0) -> str:
    """Copy a feed, many entries at a time, in one event loop. The feed is simulated: nothing leaves this machine.

    When the feed breaks off, the task is tried again and goes on behind what it has kept.
    """
    if entries < 1 or at_once < 1 or breaks_after < 0:
        raise Refused(f"entries and at_once must be 1 or more, got {entries} and {at_once}; breaks_after 0 or more.")
    kept = kept_by(self.request.id, entries)
    feed = Feed(entries, breaks_after=0 if self.request.retries else breaks_after)
    fetched: list[Entry] = []
    try:
        asyncio.run(
            _fetch(feed, [number for number in range(1, entries + 1) if number not in kept], at_once, fetched)
        )
    finally:
        # Outside of the loop, where Django's ORM may be used; and what came before a break or a cancel is kept.
        keep(fetched, self.request.id)
    return f"{_count(entries, 'entry', 'entries')} synced."


async def _fetch(feed: Feed, missing: list[int], at_once: int, fetched: list[Entry]) -> None:
    async with aclosing(fetch_all(feed, missing, at_once)) as coming:
        # In this coroutine, not in those that fetch: what it raises when somebody cancels ends the whole loop.
        async for entry in progress.track(coming, total=feed.size, initial=feed.size - len(missing)):
            fetched.append(entry)
            progress.update(message=entry.headline)
