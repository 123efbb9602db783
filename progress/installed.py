"""What else is installed in our folder. The package index has another package of the same name."""

from __future__ import annotations

import re
from importlib import metadata
from pathlib import Path
from typing import Final

OURS: Final = "django-task-progress"
FOLDER: Final = Path(__file__).resolve().parent


def others(folder: Path = FOLDER) -> list[str]:
    """Names of the other distributions that have put files into `folder`, which holds this package.

    Reads the lists of files that pip keeps beside it; a copy that nobody installed has none.
    """
    found = set()
    for distribution in metadata.distributions(path=[str(folder.parent)]):
        # As text: parsing every list of a large environment takes ten times as long.
        files = distribution.read_text("RECORD") or distribution.read_text("installed-files.txt") or ""
        if files.startswith(f"{folder.name}/") or f"\n{folder.name}/" in files or f"../{folder.name}/" in files:
            found.add(re.sub(r"[-_.]+", "-", str(distribution.metadata["Name"])).lower())
    return sorted(found - {OURS})
