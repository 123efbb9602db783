"""``manage.py demo``: two users with different rights, and a run in each state, to look at."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils.crypto import get_random_string

import progress
from tasks.demo import NameTaken, make_runs, make_users

ABOUT = {"ann": "her own runs, no admin", "stella": "staff: sees, cancels and starts; no arguments, no running again"}


class Command(BaseCommand):
    """Nothing is run for it, and it can be called again: what has changed since is put back."""

    help = "Make two users with different rights and a few runs in each state. For a site where nothing is at stake."

    def add_arguments(self, parser: CommandParser) -> None:
        """What may be said besides."""
        parser.add_argument("--password", help="of both users; else each call makes up a new one")
        parser.add_argument("--yes", action="store_true", help="also where DEBUG is off")

    def handle(self, *args: Any, **options: Any) -> None:
        """Make them, and print who they are."""
        if not (settings.DEBUG or options["yes"]):
            raise CommandError("DEBUG is off, so this may be a site that matters. Say --yes if it is not.")
        password = options["password"] or get_random_string(12)
        try:
            users = make_users(password)
            for key, state in make_runs(users):
                self.stdout.write(f"{state.lower():<12}{key}")
        except NameTaken as error:
            raise CommandError(f"{error} Nothing was made.") from error
        except progress.StoreUnavailable as error:
            raise CommandError(f"{error} Start Redis, then call this again.") from error
        for name in users:
            self.stdout.write(f"{name} / {password}   {ABOUT[name]}")
