"""How often a server's process asks its database, by table, and the function below: a view of the measured site alone
tells it.
"""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any, Final

from django.db.backends.signals import connection_created
from django.http import HttpRequest, JsonResponse

TABLE: Final = re.compile(r'(?:FROM|INTO|UPDATE) "(\w+)"')
AUTHORIZE: Final = "authorize "  # before an action

_counted: Counter[str] = Counter()
_lock = threading.Lock()  # queries are made by several threads


def _count(execute: Callable[..., Any], sql: str, params: Any, many: bool, context: dict[str, Any]) -> Any:
    if found := TABLE.search(sql):
        with _lock:
            _counted[found[1]] += 1
    return execute(sql, params, many, context)


def _listen(connection: Any, **_signal: Any) -> None:
    if _count not in connection.execute_wrappers:  # it may have been connected before
        connection.execute_wrappers.append(_count)


connection_created.connect(_listen)


def authorize(_user: Any, action: str, _run: Any) -> bool:
    """A `PROGRESS_AUTHORIZE` that lets everybody watch everything, and is counted as "authorize" with the action."""
    with _lock:
        _counted[f"{AUTHORIZE}{action}"] += 1
    return action == "watch"


def queries(_request: HttpRequest) -> JsonResponse:
    """Queries of this process so far, by table, and calls of `authorize`, by action.

    Queries of connections from before the first call are not counted.
    """
    with _lock:
        return JsonResponse(dict(_counted))
