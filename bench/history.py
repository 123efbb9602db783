"""`python -m bench.history [FOLDER]`: the admin and the recorder over a million runs, in SQLite and in PostgreSQL.

Writes `docs/a-million-runs.md`; exits 1 if a bar is missed. The databases are made in FOLDER, which takes 5 GB, and
used again the next time; without it they are made in a temporary folder and removed.
"""

from __future__ import annotations

import argparse
import os
import pickle
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from tests.postgres import Postgres
from tests.processes import ROOT, Redis

from .history_rows import ROWS

KINDS: Final = ("SQLite", "PostgreSQL")


def main() -> int:
    """Make what is missing, measure, tell; 1 if a bar is missed."""
    parser = argparse.ArgumentParser(prog="python -m bench.history", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folder", nargs="?", type=Path, help="where the databases are kept")
    parser.add_argument("--only", choices=KINDS, help="one database; writes no page")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        return _measure(options.measure)
    folder = (options.folder or Path(tempfile.mkdtemp(prefix="progress-history-"))).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    if options.folder is None:
        folder.chmod(0o711)  # PostgreSQL passes through as another user where this one is root
    try:
        found = {kind: _of(kind, folder) for kind in KINDS if options.only in (None, kind)}
    finally:
        if options.folder is None:
            shutil.rmtree(folder, ignore_errors=True)
    from . import history_report

    return 0 if history_report.tell(found, ROWS, write=options.only is None) else 1


def _of(kind: str, folder: Path) -> dict[str, Any]:
    """Measured by a process of its own, which knows this database only."""
    redis = Redis(Path(tempfile.mkdtemp(prefix="progress-history-")))
    answer = redis.folder / "found"
    try:
        redis.start()
        with _database(kind, folder) as url:
            env = {
                **os.environ,
                "DJANGO_SETTINGS_MODULE": "project.settings",
                "DATA_DIR": str(redis.folder / "data"),
                "DATABASE_URL": url,
                "REDIS_URL": redis.url,
                "PROGRESS_PREFIX": "bench",
                "LOG_LEVEL": "ERROR",
            }
            subprocess.run(
                [sys.executable, "-m", "bench.history", "--measure", str(answer)], cwd=ROOT, env=env, check=True
            )
        found: dict[str, Any] = pickle.loads(answer.read_bytes())
        return found
    finally:
        redis.kill()
        shutil.rmtree(redis.folder, ignore_errors=True)


@contextmanager
def _database(kind: str, folder: Path) -> Iterator[str]:
    """The address of a database in `folder`."""
    if kind == "SQLite":
        yield f"sqlite:///{folder / 'runs.sqlite3'}"
        return
    server = Postgres(folder, data=folder / "postgres")
    try:
        yield server.start().url
    finally:
        server.stop()


def _measure(answer: Path) -> int:
    """In the process that knows one database."""
    import django

    django.setup()
    _prepare()
    from . import history_pages, history_work

    found = {
        "bytes": _bytes(),
        "version": _version(),
        "throughput": history_work.throughput(),
        "work": history_work.measure(),
        "pages": history_pages.measure(),
    }
    answer.write_bytes(pickle.dumps(found))
    return 0


def _prepare() -> None:
    """Have a million rows in the default database: those that are there, if they are the right ones."""
    from django.core.management import call_command
    from django.db import connection

    from . import history_rows

    wanted = history_rows.fingerprint(ROWS)
    with connection.cursor() as cursor:
        tables = connection.introspection.table_names(cursor)
        if "made_from" in tables:
            cursor.execute("SELECT fingerprint FROM made_from")
            if cursor.fetchone()[0] == wanted:
                return
        if tables:
            raise SystemExit(
                "The kept database was made for another version. Remove its folder, or name another one."
            )
    began = time.monotonic()
    call_command("migrate", verbosity=0)
    history_rows.fill(ROWS)
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE made_from (fingerprint varchar(64))")
        cursor.execute("INSERT INTO made_from VALUES (%s)", [wanted])
    print(f"Made {ROWS:,} rows in {time.monotonic() - began:.0f} s.", flush=True)


def _bytes() -> int:
    from django.db import connection

    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SELECT pg_total_relation_size('task_progress_taskrun')")
        else:
            cursor.execute("SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()")
        return int(cursor.fetchone()[0])


def _version() -> str:
    import sqlite3

    from django.db import connection

    if connection.vendor == "sqlite":
        return f"SQLite {sqlite3.sqlite_version}, WAL"
    with connection.cursor() as cursor:
        cursor.execute("SHOW server_version")
        return f"PostgreSQL {cursor.fetchone()[0].split()[0]}, as it comes, without fsync"


if __name__ == "__main__":
    sys.exit(main())
