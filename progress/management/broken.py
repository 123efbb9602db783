"""What is said of a link that does not hold."""

from __future__ import annotations


class Broken(Exception):
    """A link that does not hold: what was expected, what was found, and what to do."""

    def __init__(self, expected: str, got: str, mend: str) -> None:
        super().__init__(f"expected {expected}; got {got}. {mend}")
        self.expected, self.got, self.mend = expected, got, mend
