"""Packages on several hosts: one task sends one task per host, and ends. None of them waits for another.

A task that waited for its parts would hold a worker that they need. So the parts are on their own, and to call off
what has not been done yet is written into the database, where each part looks before every step.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import Final
from uuid import UUID

from django.utils import timezone

from progress import TaskCancelled

from .models import Installation, Rollout, Start

LOOK_EVERY: Final = 0.5  # seconds between two looks whether the rollout was called off


def prepare(start: Start, hosts: Iterable[str], packages: list[str]) -> Rollout:
    """Write down a rollout and its parts, none of them sent."""
    rollout = Rollout.objects.create(owner=start.user, start=start, packages=packages)
    Installation.objects.bulk_create(Installation(rollout=rollout, host=host) for host in hosts)
    return rollout


def not_sent(rollout: Rollout) -> Iterator[Installation]:
    """The parts that are still to be sent, each looked up when its turn comes. Mark it with `sent`."""
    for part in rollout.installations.filter(sent_at=None):
        if Rollout.objects.filter(pk=rollout.pk, stopped_at=None).exists():
            yield part


def sent(part: Installation) -> None:
    """It was sent; a rollout that is delivered again does not send it again."""
    Installation.objects.filter(pk=part.pk).update(sent_at=timezone.now())


def stop(rollout: Rollout) -> None:
    """Call off what has not been done. Parts that run stop within a second, the others do not begin."""
    Rollout.objects.filter(pk=rollout.pk, stopped_at=None).update(stopped_at=timezone.now())


class CallingOff:
    """Whether a rollout was called off, asked often and looked up seldom."""

    def __init__(self, rollout_id: int) -> None:
        self._rollout_id = rollout_id
        self._looked_at = 0.0  # s, by the monotonic clock

    def check(self) -> None:
        """Raises `progress.TaskCancelled` once it was, or when the rollout was deleted."""
        now = time.monotonic()
        if self._looked_at and now - self._looked_at < LOOK_EVERY:
            return
        self._looked_at = now
        if not Rollout.objects.filter(pk=self._rollout_id, stopped_at=None).exists():
            raise TaskCancelled("The rollout was called off.")


def part_of_task(task_id: str) -> Installation | None:
    """The part that this task does, if it does one."""
    try:
        return Installation.objects.select_related("rollout").filter(task_id=UUID(task_id)).first()
    except ValueError:
        return None


def done(part: Installation, package: str) -> None:
    """A package is installed; a later attempt does not install it again."""
    part.installed = [*part.installed, package]
    part.save(update_fields=["installed"])
