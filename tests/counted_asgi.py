"""The shipped site, which says each SQL statement that it runs."""

from project.asgi import application  # loads the apps, so it comes first

# isort: split
from typing import Any

from django.db.backends.signals import connection_created


def say(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
    """Run a statement, and say it."""
    print(f"SQL {sql}", flush=True)
    return execute(sql, params, many, context)


def listen(connection: Any, **_: Any) -> None:
    """A new connection: its statements are said."""
    if say not in connection.execute_wrappers:
        connection.execute_wrappers.append(say)


connection_created.connect(listen)

__all__ = ["application"]
