"""Tasks of every kind are sent while one thing after the other breaks. Promises 1 to 4 and 13."""

from __future__ import annotations

import random
import time
from typing import Any, Final

from tests.processes import wait_until

from . import checker
from .history import Execution, Notes
from .nemesis import FAULTS, Nemesis, pause
from .rig import Rig
from .sizes import Sizes
from .verdict import Line

SETTLE: Final = 40.0  # seconds after the last fault: messages of killed workers come again, and then run
KEPT: Final = 150  # tasks that are watched on after everybody has shown their end
# Seconds after Redis has lost data: what is gone is put back by who still knows it. One thing at a time.
AFTER_A_LOSS: Final = 16.0
CALM: Final = 12.0  # seconds between two faults at the most, if the clients take so long to agree

# task, steps, pause, keyword arguments; how often of 20
KINDS: Final[list[tuple[int, str, int, float, dict[str, Any]]]] = [
    (5, "work", 5, 0.1, {}),
    (3, "work", 20, 0.1, {"chatty": 50}),
    (2, "work", 1, 0.01, {}),
    (2, "work", 2, 1.5, {"chatty": 0}),
    (2, "work", 3, 0.1, {"how": "FAILURE"}),
    (1, "work", 3, 0.1, {"how": "IGNORED"}),
    (2, "work", 4, 0.1, {"how": "RETRY"}),
    (1, "late", 16, 0.5, {}),  # longer than the broker waits: it runs twice
    (2, "work", 100, 0.1, {"cancel": True}),
]


class Storm:
    """Generator and nemesis, side by side in one thread: what is sent and what breaks is the seed's choice."""

    def __init__(self, rig: Rig, sizes: Sizes, dice: random.Random) -> None:
        self.rig, self.sizes, self.dice = rig, sizes, dice
        # Dice of its own: what breaks when does not depend on how many tasks were sent meanwhile.
        self.nemesis = Nemesis(rig, random.Random(dice.randrange(2**32)), sizes.hold)
        self.sent: list[str] = []
        self._notes = Notes(rig.oracle)
        self._open: set[str] = set()  # sent, and not yet agreed on
        self._closed: list[str] = []  # agreed on, and still watched
        self._cancel_at: dict[str, float] = {}

    def rage(self) -> None:
        """Send and break until time is up and enough has ended, then wait until everything is quiet."""
        clients = [self.rig.client(f"client {number}") for number in range(self.sizes.watchers)]
        self.rig.crowd.add(clients)
        began = struck = time.monotonic()
        while not self._enough(began):
            self._send()
            pause(1 / self.sizes.pace)
            calm = AFTER_A_LOSS if self.nemesis.has_forgotten else CALM
            if (self._agree() and not self.nemesis.has_forgotten) or time.monotonic() > struck + calm:
                self.nemesis.strike()
                struck = time.monotonic()
                # Somebody comes late, to the page of one task.
                late = self.rig.client(f"late {len(self.nemesis.done)}", single=self.sent[-1])
                self.rig.crowd.add([late])
        self.quiet()

    def _enough(self, began: float) -> bool:
        long = time.monotonic() >= began + self.sizes.storm
        return long and self._ended() >= self.sizes.ends and self.nemesis.kinds == len(FAULTS)

    def quiet(self) -> None:
        """Wait until every task has ended and every client shows how."""
        deadline = time.monotonic() + SETTLE
        while time.monotonic() < deadline and not self._all_over():
            self._ask_to_cancel()
            pause(0.25)

    def lines(self) -> list[Line]:
        """What is to be said about promises 1, 2, 3, 4 and 13."""
        history = self.rig.history()
        history.faults, history.sent = self.nemesis.done, self.sent
        history.save(self.rig.folder)
        names = [client.name for client in self.rig.crowd.clients]
        lines = [
            Line("1 Convergence", "≤ 10 s after it heals, median ≤ 2 s, 0 stuck", checker.converges(history, names)),
            Line("2 No lost end", "0 missing, 0 double", checker.ends_once(history)),
            Line("3 Never backwards", "0 steps back", checker.never_back(history)),
            Line("4 One writer", "0 of a superseded execution", checker.one_writer(history)),
            Line("13 Cancelled means stopped", "0 while the body runs", checker.cancelled_when_stopped(history)),
        ]
        kinds, times = self.nemesis.kinds, len(self.nemesis.done)
        struck = checker.Finding(
            f"{times} faults of {kinds} kinds", [] if kinds == len(FAULTS) else ["not every kind"]
        )
        return [Line("What broke meanwhile", f"each of {len(FAULTS)} kinds", struck), *lines, self._gaps()]

    def _gaps(self) -> Line:
        counted = wait_until(self.rig.counted, 10, "the counters")
        seen, healed, abandoned = counted["gaps_seen"], counted["gaps_healed"], counted["gaps_abandoned"]
        wrong = [] if seen == healed + abandoned else [f"{seen} seen, {healed} healed, {abandoned} abandoned"]
        told = f"{seen} seen, {healed} healed, {abandoned} abandoned, since the last restart"
        return Line("Gaps healed", "all that were seen", checker.Finding(told, wrong))

    def _send(self) -> None:
        kinds = [kind for kind in KINDS for _ in range(kind[0])]
        _, name, steps, seconds, options = self.dice.choice(kinds)
        task_id = f"{name}-{len(self.sent)}-{self.dice.getrandbits(32):08x}"
        options = {**options}
        cancels = options.pop("cancel", False)
        # Before it exists: a page may be quicker than the broker.
        self.rig.crowd.watch([task_id], [client for client in self.rig.crowd.clients if not client.single])
        self.rig.send(name, steps, seconds, task_id=task_id, **options)
        self.sent.append(task_id)
        self._open.add(task_id)
        if cancels:
            self._cancel_at[task_id] = time.monotonic() + self.dice.uniform(0.5, 3)
        self._ask_to_cancel()

    def _ask_to_cancel(self) -> None:
        """Ask for what is due, again until it is shown as asked for: a request may be lost, and its page says so."""
        for task_id, due in list(self._cancel_at.items()):
            client = self.rig.crowd.clients[0]
            shown = client.newest.get(task_id)
            if shown is not None and (shown.cancel_requested or shown.final):
                del self._cancel_at[task_id]
            elif time.monotonic() >= due:
                self.rig.crowd.do(client.say(type="cancel", id=task_id))
                self._cancel_at[task_id] = time.monotonic() + 2

    def _ended(self) -> int:
        return sum(checker.is_settled(done) for done in self._notes.executions().values())

    def _agree(self) -> bool:
        """True if all clients show the end of every task that has one. What they agree on is not looked at again."""
        done = self._notes.executions()
        settled = [task for task in self._open if task in done and checker.is_settled(done[task])]
        agreed = [task for task in settled if self._shown_by_all(task, done[task])]
        self._open.difference_update(agreed)
        self._closed += agreed
        if len(self._closed) > 2 * KEPT:  # a connection may watch 500
            self.rig.crowd.unwatch(self._closed[:KEPT])
            del self._closed[:KEPT]
        return len(agreed) == len(settled)

    def _all_over(self) -> bool:
        done = self._notes.executions()
        return all(self._shown_by_all(task, done.get(task, [])) for task in self._open)

    def _shown_by_all(self, task: str, done: list[Execution]) -> bool:
        return all(
            (shown := client.newest.get(task)) is not None
            and (shown.state in checker.expected(done) or (bool(done) and task in client.gone))
            for client in self.rig.crowd.clients
            if task in client.ids
        )
