"""What is known of runs, and whether whoever asks may see it.

With `demo` it is what reaches below the public interface of `progress` in this site: a page that answers 404 needs to
know before it is made whether there is something to show. Everything else here is `import progress`, the template
tags and `progress.urls`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.urls import reverse

from progress.authorize import rights_of
from progress.permissions import viewer_of
from progress.snapshot import address
from progress.store import get_store

User = AbstractBaseUser | AnonymousUser


@dataclass(frozen=True, slots=True)
class Run:
    """A run, as somebody may see it."""

    key: str
    snapshot: dict[str, Any]
    may: list[str]  # of "watch" and "cancel"

    @property
    def url(self) -> str:
        """Address of its page."""
        return reverse("run", args=[self.key])


def run_of(user: User, name: str) -> Run | None:
    """The run that an address names; None if there is none or `user` may not watch it: the two do not differ.

    Raises `progress.ProgressError` when the store does not answer, as all functions here do.
    """
    return next(iter(runs_of(user, [name])), None)


def runs_of(user: User, names: Sequence[str]) -> list[Run]:
    """Those of these runs that there are and that `user` may watch, in this order."""
    viewer = viewer_of(user)
    keys = [address(name) for name in names]
    found = []
    for key, record in zip(keys, get_store().load_many(keys), strict=True):
        right = rights_of(key, record, viewer, (), "watch", "cancel")
        if record is not None and "watch" in right.actions:
            may = [action for action in ("watch", "cancel") if action in right.actions]
            found.append(Run(key, record.snapshot(staff=right.staff), may))
    return found


def latest_runs(user: User) -> list[Run]:
    """The runs of `user`, newest first."""
    return runs_of(user, get_store().mine(str(user.pk)))
