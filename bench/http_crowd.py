"""A crowd of browsers without WebSockets, in a process of their own: `bench.http_process` does the work."""

from __future__ import annotations

from typing import Literal

from .led_process import LedProcess


class HttpCrowd(LedProcess):
    """Browsers that "poll" an address, or "listen" to its events. A context manager: from entering it until `end`."""

    def __init__(self, how: Literal["poll", "listen"], port: int, path: str, browsers: int) -> None:
        super().__init__("http_process", how, "127.0.0.1", str(port), path, str(browsers))

    def opened(self) -> dict[str, int]:
        """Wait until every browser has had an answer; the counts by then.

        "requests", "bytes" both ways, different steps "shown", "newest" step of the browser that is farthest behind.
        """
        return self._counted()

    def end(self) -> dict[str, int]:
        """Stop all browsers; the counts since they began."""
        assert self._process.stdin
        self._process.stdin.close()
        return self._counted()

    def _counted(self) -> dict[str, int]:
        counted: dict[str, int] = self._answer()
        return counted
