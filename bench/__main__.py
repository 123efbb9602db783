"""`python -m bench`: measure, print the tables, write `bench/results.json` and `docs/benchmarks.md`."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

from tests.processes import Redis


def main() -> int:
    """Start a Redis, set Django up against it, measure, and tell; 1 if a bar is missed."""
    began = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="progress-bench-"))
    server = Redis(folder)
    try:
        server.start()
        # Read by the project's settings, here and in the servers that are started.
        os.environ.update(
            DJANGO_SETTINGS_MODULE="project.settings",
            DATA_DIR=str(folder / "data"),
            REDIS_URL=server.url,
            PROGRESS_PREFIX="bench",
            SECRET_KEY=os.urandom(20).hex(),
            LOG_LEVEL="WARNING",
            PROGRESS_MAX_CONNECTIONS="0",  # one user is the whole crowd
            PROGRESS_MAX_JOINS="0",
        )
        import django

        django.setup()
        from . import fanout, report_cost, results

        found = {"report": report_cost.measure(), "fanout": fanout.measure(folder)}
        kept = results.tell(found, seconds=time.monotonic() - began)
    finally:
        server.kill()
        shutil.rmtree(folder, ignore_errors=True)
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
