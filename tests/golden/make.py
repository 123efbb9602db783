"""`python -m tests.golden.make [FOLDER]`: write down what this code writes and says, as the release that it is."""

from __future__ import annotations

import json
import os
import shutil
import socket
import sys
import tempfile
import tomllib
from importlib.resources import files
from pathlib import Path

from packaging.version import Version

from .shapes import Recording

HERE = Path(__file__).resolve().parent
SCRIPT = "record.lua"


def version() -> str:
    """The version of this code."""
    text = (HERE.parent.parent / "pyproject.toml").read_text()
    return str(tomllib.loads(text)["project"]["version"])


def releases() -> list[str]:
    """The releases that are kept, the newest last."""
    return sorted((path.name for path in HERE.iterdir() if (path / SCRIPT).exists()), key=Version)


def load(release: str) -> Recording:
    """What the code of a release wrote and said."""
    return {path.stem: json.loads(path.read_text()) for path in sorted((HERE / release).glob("*.json"))}


def save(folder: Path, recording: Recording, nameless: dict[str, str]) -> None:
    """Write a recording, and the script that this code changes records by. `nameless`: texts that others replace."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, kinds in recording.items():
        text = json.dumps(kinds, indent=1, sort_keys=True, ensure_ascii=False)
        for found, instead in nameless.items():
            text = text.replace(found, instead)
        (folder / f"{name}.json").write_text(text + "\n")
    (folder / SCRIPT).write_text(files("progress").joinpath(SCRIPT).read_text())


def main() -> None:
    """Make a site for this alone, play everything at it, and write it down."""
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
    import django

    django.setup()
    from django.conf import settings

    from tests.processes import Site, in_this_process

    from .recording import record

    target = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / version()
    folder = Path(tempfile.mkdtemp())
    site = Site(folder / "site")
    try:
        site.start()
        with in_this_process(settings, site.redis.url, site.prefix):
            # Neither this machine's folders nor its name are anybody's matter.
            save(target, record(site), {str(site.folder): "folder", f"@{socket.gethostname()}": "@host"})
    finally:
        site.stop()
        shutil.rmtree(folder, ignore_errors=True)
    print(f"{target} is written")


if __name__ == "__main__":
    main()
