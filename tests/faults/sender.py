"""A process that sends tasks, as a site's own would: orders come in as lines of JSON, answers go out as such."""

from __future__ import annotations

import json
import sys
import time

import django


def main() -> None:
    """Send one task per line, and say how long that took (s)."""
    django.setup()
    import progress
    from project.celery import app

    from . import jobs  # noqa: F401 (registers them)

    for line in sys.stdin:
        order = json.loads(line)
        task = app.tasks[order["task"]]
        with progress.owner(order["owner"]):
            began = time.perf_counter()
            try:
                task.apply_async(order["args"], order["kwargs"], task_id=order["id"], queue=order["queue"])
                error = ""
            except Exception as raised:
                error = repr(raised)
        print(json.dumps({"took": time.perf_counter() - began, "error": error}), flush=True)


if __name__ == "__main__":
    main()
