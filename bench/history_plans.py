"""What a block of code asks the database, and how the database goes about it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

TABLE: Final = "task_progress_taskrun"
_ALIASED: Final = re.compile(rf'"{TABLE}" (?:AS )?"?(?!WHERE|ORDER|LIMIT|INNER|SET|FOR|VALUES)(\w+)"?')
_STEERING: Final = ("BEGIN", "COMMIT", "SAVEPOINT", "RELEASE", "ROLLBACK", "PRAGMA")
STEPS: Final = 100  # instructions of SQLite between two counts


@dataclass(frozen=True)
class Query:
    """A statement with its parameters."""

    sql: str
    parameters: Any

    @property
    def ours(self) -> bool:
        """True if it is about the table of runs."""
        return TABLE in self.sql

    @property
    def counts(self) -> bool:
        """True if it counts rows without a limit."""
        return self.ours and "COUNT(" in self.sql.upper() and "LIMIT" not in self.sql.upper()

    def __str__(self) -> str:
        """Shortened: the columns that are read say little."""
        return re.sub(r"SELECT .*? FROM", "SELECT … FROM", self.sql)[:300]


@dataclass
class Plan:
    """How a query is done: the lines of the plan, what of it reads the whole table, and how much is read.

    `work`: rows that PostgreSQL read, or thousands of SQLite's instructions; 0 for what was not run.
    """

    lines: list[str]
    scans: list[str] = field(default_factory=list)
    work: float = 0.0


@contextmanager
def queries() -> Iterator[list[Query]]:
    """The statements of the block, without those that begin and end transactions."""
    from django.db import connection

    found: list[Query] = []

    def note(execute: Callable[..., Any], sql: str, parameters: Any, many: bool, context: Any) -> Any:
        if not sql.startswith(_STEERING):
            found.append(Query(sql, parameters))
        return execute(sql, parameters, many, context)

    with connection.execute_wrapper(note):
        yield found


def plan_of(query: Query) -> Plan:
    """Ask the database. What only reads is run for it; the answer of a write is an estimate."""
    from django.db import connection

    return _of_postgresql(query) if connection.vendor == "postgresql" else _of_sqlite(query)


def _of_postgresql(query: Query) -> Plan:
    from django.db import connection, transaction

    reads = query.sql.startswith("SELECT")
    options = "ANALYZE, FORMAT JSON" if reads else "FORMAT JSON"
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN ({options}) {query.sql}", query.parameters)
        found = cursor.fetchone()[0]
        transaction.set_rollback(True)
    plan = Plan([])
    _walk((json.loads(found) if isinstance(found, str) else found)[0]["Plan"], plan, 0)
    return plan


def _walk(node: dict[str, Any], plan: Plan, depth: int) -> None:
    name = node["Node Type"]
    where = node.get("Index Name") or node.get("Relation Name") or ""
    plan.lines.append(f"{'  ' * depth}{name} {where}".rstrip())
    if name == "Seq Scan" and node.get("Relation Name") == TABLE:
        plan.scans.append(f"{name} {where}")
    if "Scan" in name and name != "Bitmap Heap Scan" and "Actual Loops" in node:
        passed = sum(node.get(each, 0) for each in ("Actual Rows", "Rows Removed by Filter"))
        plan.work += passed * node["Actual Loops"]
    for inner in node.get("Plans", ()):
        _walk(inner, plan, depth + 1)


def _of_sqlite(query: Query) -> Plan:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN QUERY PLAN {query.sql}", query.parameters)
        plan = Plan([row[3] for row in cursor.fetchall()])
    names = {TABLE, *_ALIASED.findall(query.sql)}
    bounded = "LIMIT" in query.sql.upper() and not any("TEMP B-TREE FOR ORDER BY" in line for line in plan.lines)
    for line in plan.lines:
        scanned = re.match(r"SCAN (\S+)", line)
        # In the order of an index, and no further than a limit, is no more than the rows that are shown.
        if scanned and scanned[1] in names and not ("USING" in line and bounded):
            plan.scans.append(line)
    if query.sql.startswith("SELECT"):
        plan.work = _steps(query) / 1000
    return plan


def _steps(query: Query) -> int:
    """How many instructions of its machine SQLite takes for a query."""
    from django.db import connection

    count = [0]

    def more() -> int:
        count[0] += STEPS
        return 0

    connection.connection.set_progress_handler(more, STEPS)
    try:
        with connection.cursor() as cursor:
            cursor.execute(query.sql, query.parameters)
            cursor.fetchall()
    finally:
        connection.connection.set_progress_handler(None, 0)
    return count[0]
