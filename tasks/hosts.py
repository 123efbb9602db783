"""Simulated hosts. Nothing is connected to and nothing is installed; time passes and things go wrong, that is all.

The names decide what goes wrong, so that every outcome can be seen:

- a host whose name begins with ``down`` never answers
- a host whose name begins with ``flaky`` does not answer at the first attempt
- a package whose name begins with ``broken`` cannot be installed
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from random import Random
from typing import Final

HOST: Final = re.compile(r"(?=.{1,253}\Z)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*")
PACKAGE: Final = re.compile(r"[a-z0-9][a-z0-9.+-]{0,62}")
ANSWER: Final = 0.2  # seconds until a host answers
BLOCK: Final = 0.05  # seconds that one megabyte of a package takes


class NoAnswer(Exception):
    """A host that does not answer. It may at another time."""


class CannotInstall(Exception):
    """A package that this host will never take."""


class Host:
    """A host that does not exist."""

    def __init__(self, name: str) -> None:
        self.name = name

    def connect(self, attempt: int) -> None:
        """Say hello, at the `attempt`-th time (from 1). Raises `NoAnswer`."""
        time.sleep(ANSWER)
        if self.name.startswith("down") or (self.name.startswith("flaky") and attempt < 2):
            raise NoAnswer(f"{self.name} does not answer.")

    def size(self, package: str) -> int:
        """Megabytes of a package, from its name: between 5 and 40."""
        return Random(package).randint(5, 40)  # nosec B311 # made-up data

    def install(self, package: str) -> Iterator[int]:
        """Install it; yields each megabyte that is done. Raises `CannotInstall`, in the middle."""
        size = self.size(package)
        for megabyte in range(1, size + 1):
            time.sleep(BLOCK)
            if package.startswith("broken") and megabyte > size // 2:
                raise CannotInstall(f"{package} cannot be installed on {self.name}: a file of it is damaged.")
            yield megabyte
