"""Follows a file that others write to, line by line, through everything that happens to log files.

- It is renamed and a new one takes its name: what was still written into the old one is read first.
- It is cut to nothing, or written anew in place: reading begins again. That is noticed when the file is shorter
  than before, or when the bytes before the place that was reached are others. Not noticed: a file that is cut and
  filled again with the very same bytes.
- It is not there yet, or for a while: it is waited for.
- A line is handed out when its end has come, or when nothing more can come. One of more than `LINE_CHARACTERS` is
  cut, however long it is. Bytes that are no UTF-8 become U+FFFD.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

from .folders import open_below

LINE_CHARACTERS: Final = 500  # as many as a line of a task's log has
LINE_BYTES: Final = 4 * LINE_CHARACTERS  # of a line are kept
BYTES_AT_ONCE: Final = 64 * 1024
BYTES_PER_LOOK: Final = 1024 * 1024  # so that a flood leaves room to notice a cancel
_LEVEL: Final = re.compile(r"\b(DEBUG|INFO|WARNING|ERROR|CRITICAL)\b")
_REMEMBERED: Final = 64  # bytes before the place that was reached, to notice that they have changed


class Lines:
    """Bytes that come in pieces, as lines."""

    def __init__(self) -> None:
        self._begun = b""  # a line whose end has not come
        self._passing = False  # over the rest of a line that was cut

    def feed(self, data: bytes) -> Iterator[str]:
        """The lines that `data` completes."""
        *ended, self._begun = (self._begun + data).split(b"\n")
        for line in ended:
            if self._passing:
                self._passing = False
            else:
                yield _text(line)
        if self._passing:
            self._begun = b""
        elif len(self._begun) > LINE_BYTES:
            yield _text(self._begun)
            self._begun, self._passing = b"", True

    def finish(self) -> Iterator[str]:
        """The line that has begun, if any: its end will not come."""
        begun, self._begun, self._passing = self._begun, b"", False
        if begun:
            yield _text(begun)


def _text(line: bytes) -> str:
    text = line[: LINE_BYTES + 1].decode("utf-8", "replace").removesuffix("\r")
    return text if len(text) <= LINE_CHARACTERS else text[: LINE_CHARACTERS - 1] + "…"


def level_of(line: str) -> str:
    """The level that a line of a log file names, INFO where it names none."""
    found = _LEVEL.search(line)
    return found[1] if found else "INFO"


class Follower:
    """Reads one file as it grows. Call `look` again and again; close it in the end."""

    def __init__(self, folder: Path, name: str, last: int = 0) -> None:
        """`last`: so many lines that are there already are handed out first; of a file that comes later, all are.

        Raises what `open_below` raises, except that a file which is not there is waited for.
        """
        self.note = ""  # what happened to the file since it was last asked for; whoever reads it empties it
        self._folder, self._name = folder, name
        self._lines = Lines()
        self._place = 0
        self._before = b""  # the bytes before that place, as many as are remembered
        self._at_end = False
        self._file = self._open()
        if self._file is not None:
            self._go_to(_start_of_last(self._file, last))

    @property
    def is_there(self) -> bool:
        """True while there is a file to read from."""
        return self._file is not None

    def look(self) -> Iterator[str]:
        """The lines that have come since the last look. Raises what `open_below` raises."""
        if self._file is None:
            self._file = self._open()
            if self._file is None:
                return
            self.note = "The file has appeared."
        if self._was_rewritten():
            yield from self._lines.finish()
            self._go_to(0)
            self.note = "The file was cut; it is read from its beginning."
        yield from self._read()
        if not self._at_end or (newer := self._newer()) is None:
            return
        rest = list(self._read())  # what was written between the last byte read and the new file
        if self._at_end:
            rest += self._lines.finish()
            self._file.close()
            self._file, self.note = newer, "A new file has taken the place of the old one."
            self._go_to(0)
        else:
            newer.close()
        yield from rest

    def close(self) -> list[str]:
        """Read no more; the answer is the line that has begun, if any."""
        if self._file is not None:
            self._file.close()
            self._file = None
        return list(self._lines.finish())

    def _open(self) -> BinaryIO | None:
        try:
            return open_below(self._folder, self._name)
        except FileNotFoundError:
            return None

    def _newer(self) -> BinaryIO | None:
        """The file that has the name now, if it is another one than ours."""
        if self._file is None or (newer := self._open()) is None:
            return None
        if os.path.sameopenfile(newer.fileno(), self._file.fileno()):
            newer.close()
            return None
        return newer

    def _was_rewritten(self) -> bool:
        if self._file is None:
            return False
        behind = self._place - len(self._before)
        return os.pread(self._file.fileno(), len(self._before), behind) != self._before

    def _read(self) -> Iterator[str]:
        self._at_end = False
        for _ in range(BYTES_PER_LOOK // BYTES_AT_ONCE):
            data = b"" if self._file is None else os.pread(self._file.fileno(), BYTES_AT_ONCE, self._place)
            if not data:
                self._at_end = True
                return
            self._place += len(data)
            self._before = (self._before + data)[-_REMEMBERED:]
            yield from self._lines.feed(data)

    def _go_to(self, place: int) -> None:
        self._place, self._before = place, b""
        if self._file is not None and place:
            self._before = os.pread(self._file.fileno(), _REMEMBERED, max(place - _REMEMBERED, 0))[:place]


def _start_of_last(file: BinaryIO, lines: int) -> int:
    """Where the last `lines` lines of a file begin. One whose end has not come is a line; it is never divided."""
    place = os.fstat(file.fileno()).st_size
    ended = os.pread(file.fileno(), 1, max(place - 1, 0)) == b"\n"
    ends = lines + 1 if ended else max(lines, 1)  # line ends to find, from behind
    while place > 0:
        size = min(BYTES_AT_ONCE, place)
        data = os.pread(file.fileno(), size, place - size)
        at = len(data)
        while (at := data.rfind(b"\n", 0, at)) >= 0:
            ends -= 1
            if not ends:
                return place - size + at + 1
        place -= size
    return 0
