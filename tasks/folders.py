"""Opens files below one folder and nowhere else, whatever name was given and whatever changes meanwhile.

A path is not looked at and then opened: between the two somebody could put a link in its place. It is walked part
by part, each opened in the one before, and no symbolic link is followed. So there is no way out of the folder. The
folder itself may be reached by a link: it is named by the site, not by a user.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Final

from django.utils.translation import gettext

NAME_BYTES: Final = 1_000
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
_FOLDER: Final = _READ | os.O_DIRECTORY
# Without it, opening a named pipe waits for somebody to write into it.
_FILE: Final = _READ | os.O_NONBLOCK


class NotAllowed(ValueError):
    """A name that leads elsewhere or to something that is no file. The message says which and what to give."""


def parts_of(name: str) -> tuple[str, ...]:
    """The parts of a name below a folder. Raises `NotAllowed` unless it is relative and stays below."""
    path = PurePosixPath(name)
    if not name or not path.parts or "\0" in name or len(name.encode(errors="replace")) > NAME_BYTES:
        raise NotAllowed(gettext("Give the name of a file below the folder, such as worker.log."))
    if path.is_absolute() or ".." in path.parts:
        raise NotAllowed(
            gettext("Only files below the folder can be read: give a name without a leading slash and without “..”.")
        )
    return path.parts


def open_below(folder: Path, name: str) -> BinaryIO:
    """Open the file `name` below `folder` to read its bytes, unbuffered.

    Raises `NotAllowed` for a name that leads out of the folder, or to a link, a folder or a device; `OSError` when
    there is no such file (`FileNotFoundError`) or it cannot be read.
    """
    parts = parts_of(name)
    here = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in parts[:-1]:
            inner = _open(part, _FOLDER, here, name)
            os.close(here)
            here = inner
        found = _open(parts[-1], _FILE, here, name)
    finally:
        os.close(here)
    if not stat.S_ISREG(os.fstat(found).st_mode):
        os.close(found)
        raise NotAllowed(f"{name} is no ordinary file: give the name of a text file that grows.")
    return os.fdopen(found, "rb", buffering=0)


def files_below(folder: Path, limit: int) -> list[str]:
    """Names of the files in `folder` itself that could be opened, in alphabetical order; none if it is not there."""
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if entry.is_file(follow_symlinks=False)]
    except OSError:
        return []
    return sorted(name for name in names if not name.startswith("."))[:limit]


def _open(part: str, flags: int, here: int, name: str) -> int:
    try:
        return os.open(part, flags, dir_fd=here)
    except OSError:
        # What a link is refused with differs between systems; what is there does not.
        if _is_link(part, here):
            raise NotAllowed(
                f"{name} leads over a symbolic link, which is not followed: name the file itself."
            ) from None
        raise


def _is_link(part: str, here: int) -> bool:
    try:
        return stat.S_ISLNK(os.stat(part, dir_fd=here, follow_symlinks=False).st_mode)
    except OSError:
        return False
