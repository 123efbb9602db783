"""``manage.py run_task NAME key=value …``: send a task, print its id."""

from __future__ import annotations

import difflib
from argparse import ArgumentParser
from typing import Any

from celery import current_app
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from kombu.exceptions import KombuError

from progress import owner, watch_token
from progress.management.arguments import WrongArgument, arguments_of


class Command(BaseCommand):
    """Send a task and print its id; with --token a watch token on the second line."""

    help = "Send a task. Prints its id, and with --token, on the second line, a token to watch it with."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Arguments of the command."""
        parser.add_argument("name", metavar="NAME", help='the task, for example "tasks.countdown"')
        parser.add_argument(
            "arguments",
            metavar="key=value",
            nargs="*",
            help="an argument, converted by the type hint in the task's signature; lists and dicts as JSON",
        )
        parser.add_argument("--user", metavar="NAME", help="whose task it is; default: nobody's")
        parser.add_argument("--token", action="store_true", help="print a token that lets its bearer watch, 1 h")
        parser.add_argument("--watch", action="store_true", help="watch it, and exit as `watch` does")

    def handle(self, *_args: Any, **options: Any) -> None:
        """Send the task."""
        task = _task(options["name"])
        user = _user(options["user"])
        try:
            arguments = arguments_of(task.run, options["arguments"])
        except WrongArgument as error:
            raise CommandError(str(error)) from None
        try:
            with owner(user):
                result = task.apply_async(kwargs=arguments, retry_policy={"max_retries": 1, "interval_start": 0})
        except (KombuError, OSError) as error:
            raise CommandError(f"The broker did not take the task: {error}. See: manage.py progress_doctor") from None
        self.stdout.write(result.id)
        if options["token"]:
            self.stdout.write(watch_token(result.id, user=user))
        self.stdout.flush()  # whoever reads a pipe wants the id before the end
        if options["watch"]:
            call_command("watch", result.id, stdout=self.stdout, stderr=self.stderr)


def _task(name: str) -> Any:
    current_app.loader.import_default_modules()
    tasks = {known: task for known, task in current_app.tasks.items() if not known.startswith("celery.")}
    if name in tasks:
        return tasks[name]
    near = difflib.get_close_matches(name, tasks, n=3, cutoff=0.4) or sorted(tasks)
    raise CommandError(f"There is no task {name!r}. Known here: {', '.join(near)}.")


def _user(name: str | None) -> Any:
    if name is None:
        return None
    model = get_user_model()
    try:
        return model._default_manager.get_by_natural_key(name)
    except model.DoesNotExist:
        raise CommandError(f"There is no user {name!r}. To make one: manage.py createsuperuser") from None
