"""A process that does as it is told on its standard input, and answers in lines of JSON."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any, Self

from tests.processes import ROOT


class LedProcess:
    """A module of this package as a program of its own. A context manager; leaving it kills the process."""

    def __init__(self, module: str, *arguments: str) -> None:
        self._command = [sys.executable, "-m", f"bench.{module}", *arguments]

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            self._command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        return self

    def __exit__(self, *_error: object) -> None:
        assert self._process.stdin
        assert self._process.stdout
        self._process.kill()
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()

    def _answer(self) -> Any:
        """The next line that it says. Raises `RuntimeError` when it has ended instead."""
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self._command[2]} ended with {self._process.wait()}.")
        return json.loads(line)
