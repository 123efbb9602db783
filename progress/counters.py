"""What this process has done and seen since it began: plain numbers that only grow. Pure.

Whoever wants them reads `snapshot()`. Two of them belong together: every gap that was seen and not given up must be
healed, so ``gaps_seen == gaps_healed + gaps_abandoned`` once everything is quiet.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass


@dataclass(slots=True)
class Counters:
    """The counters of one process. Adding is not atomic between threads: a count may miss one, never invent one."""

    published: int = 0  # snapshots that this process stored and announced
    received: int = 0  # announcements that reached this process's hub
    gaps_seen: int = 0  # times that a look found something newer than what was announced here
    gaps_healed: int = 0  # of these, those whose newer state was shown
    gaps_abandoned: int = 0  # of these, those that nobody watched any more before it was shown
    fenced: int = 0  # writes of a superseded execution, or after the end, that the store refused
    conflated: int = 0  # snapshots that a newer one replaced before a reader took them
    refused: int = 0  # requests of clients that were answered with `refused`, or closed
    cut: int = 0  # connections cut because their reader took nothing
    reaped: int = 0  # tasks that this process presumed lost
    healed: int = 0  # tasks whose presumed loss was taken back by what this process wrote
    receivers_replaced: int = 0  # times that a deaf or dead receiver was replaced

    def snapshot(self) -> dict[str, int]:
        """All of them, by name."""
        return asdict(self)


counters = Counters()
