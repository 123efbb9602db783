"""The site's copy of the feed, in the database."""

from __future__ import annotations

from collections.abc import Iterable

from django.db import transaction
from django.utils import timezone

from .feed import Entry
from .models import FeedEntry


def kept_by(task_id: str, upto: int) -> set[int]:
    """Numbers of the entries, up to one, that this task has kept in an earlier attempt."""
    mine = FeedEntry.objects.filter(synced_in=task_id, number__lte=upto)
    return set(mine.values_list("number", flat=True))


def keep(entries: Iterable[Entry], task_id: str) -> None:
    """Keep all of `entries` or none; those that are there are replaced."""
    with transaction.atomic():
        for entry in entries:
            values = {"headline": entry.headline, "synced_in": task_id, "synced_at": timezone.now()}
            FeedEntry.objects.update_or_create(number=entry.number, defaults=values)
