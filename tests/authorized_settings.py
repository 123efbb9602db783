"""The shipped site with a function of its own about who may do what: a file lists what it grants."""

import os
from pathlib import Path
from typing import Any

from project.settings import *  # noqa: F403

GRANTS = Path(os.environ["DATA_DIR"]) / "grants.txt"


def authorize(user: Any, action: str, run: Any) -> bool:
    """True if the file has a line "user action task"; nobody is "-"."""
    name = user.get_username() or "-"
    return GRANTS.exists() and f"{name} {action} {run.task_id}" in GRANTS.read_text().splitlines()


PROGRESS_AUTHORIZE = authorize
PROGRESS_MAX_CONNECTIONS = PROGRESS_MAX_JOINS = 0
