"""What a log must not say: lines that only we, or somebody on our behalf, can have written."""

from __future__ import annotations

import re

OURS = re.compile(r"\b(WARNING|ERROR|CRITICAL):? +(progress|asyncio|concurrent)\b")
# A server's recorder says so when Redis answers two or three seconds late, as it does on a machine that stands still.
BUSY = "The history of runs is written later: Redis did not answer"
ANYBODYS = ("Exception ignored", "was never awaited", "was never retrieved", "/progress/publisher.py", "LoopExit")


def complaints(log: str) -> list[str]:
    """The lines of a process's log that nobody wants to read. The log has to name the loggers."""
    lines = [line for line in log.splitlines() if BUSY not in line]
    return [line for line in lines if OURS.search(line) or any(sign in line for sign in ANYBODYS)]
