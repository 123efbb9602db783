"""Holds what was shown against what truly happened. Pure: histories in, findings out."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median
from typing import Final

from .history import Execution, Fault, History, Seen

# How an execution that was killed may be shown: its child's death is a failure, a whole worker's is a presumption.
KILLED: Final = frozenset({"LOST", "FAILURE"})
# Faults after which Redis knows nothing.
FORGETS: Final = frozenset({"Redis emptied", "Redis killed with its data"})
FAILOVER: Final = "failover to a replica that is behind"
AFTER_A_FLUSH: Final = 1.5  # seconds; an end that Redis lost before anybody read it is no promise of ours


@dataclass(slots=True)
class Finding:
    """What a check measured, and what was wrong."""

    measured: str
    wrong: list[str] = field(default_factory=list)

    @property
    def kept(self) -> bool:
        """True if the promise was kept."""
        return not self.wrong


def expected(done: list[Execution]) -> frozenset[str]:
    """The states in which a task may rightly be shown at last."""
    if not done:
        return frozenset({"REVOKED"})  # cancelled before it ran
    last = done[-1]
    if not last.stopped:
        return KILLED
    # The next attempt of a retry may be lost with the worker that held it back: then it waits, and says so.
    return frozenset({"RETRY", "PENDING"}) if last.end == "RETRY" else frozenset({last.end})


def is_settled(done: list[Execution]) -> bool:
    """True if the task has come to an end of its own."""
    return bool(done[-1].stopped) and done[-1].end != "RETRY"


def calm_after(moment: float, faults: Iterable[Fault]) -> float:
    """When everything was whole again that was broken at `moment`."""
    for fault in sorted(faults, key=lambda each: each.began):
        if fault.began <= moment + 1.0 and moment <= fault.healed:
            moment = max(moment, fault.healed)
    return moment


def by_pair(history: History) -> dict[tuple[str, str], list[Seen]]:
    """What each client showed of each task, in order."""
    pairs: dict[tuple[str, str], list[Seen]] = {}
    for each in history.seen:
        pairs.setdefault((each.watcher, each.id), []).append(each)
    return pairs


def forgotten(history: History) -> set[str]:
    """Tasks whose end Redis has confirmed and then lost to a failover, before a server had read it: no promise."""
    windows = [(one.began, one.healed + AFTER_A_FLUSH) for one in history.faults if one.name == FAILOVER]
    ended = {task: done[-1].stopped for task, done in history.executions.items() if done[-1].stopped}
    return {task for task, at in ended.items() if any(began <= at <= healed for began, healed in windows)}


def converges(history: History, watchers: Iterable[str], bar: float = 10.0, usual: float = 2.0) -> Finding:
    """Promise 1: every client shows the true end, at most `bar` seconds after it exists and nothing is broken."""
    pairs, delays, wrong, excused = by_pair(history), list[float](), list[str](), 0
    flushes = [fault.began for fault in history.faults if fault.name in FORGETS]
    # What a failover has lost is excused only where nobody had read it: who has may put it back.
    unread = forgotten(history) - {each.id for each in history.seen if each.final}
    for task, done in history.executions.items():
        if not is_settled(done):
            continue
        ended = done[-1].stopped
        lost = task in unread or any(ended <= flush <= ended + AFTER_A_FLUSH for flush in flushes)
        calm = calm_after(ended, history.faults)
        for watcher in watchers:
            if task not in history.watches.get(watcher, {task}):
                continue
            shown = next(
                (s for s in pairs.get((watcher, task), []) if s.state == done[-1].end and s.at >= ended - 0.2), None
            )
            last = pairs.get((watcher, task), [None])[-1]
            if shown is None and lost:
                excused += 1
                continue
            if shown is None:
                wrong.append(f"{watcher} never showed the end of {task} ({done[-1].end}), last {last}")
                continue
            delays.append(max(shown.at - calm, 0.0))
            if delays[-1] > bar:
                wrong.append(f"{watcher} showed the end of {task} {delays[-1]:.1f} s late")
    if not delays:
        return Finding("nothing", ["No end was measured"])
    if (middle := median(delays)) > usual:
        wrong.append(f"the median is {middle:.1f} s, over {usual} s")
    told = f"{len(delays)} ends, median {middle:.2f} s, worst {max(delays):.1f} s"
    return Finding(told + (f", {excused} lost with the data" if excused else ""), wrong)


def ends_once(history: History) -> Finding:
    """Promise 2: no attempt ends twice for a client, and what is shown at last is what happened."""
    wrong, ends, excused = list[str](), 0, forgotten(history)
    for (watcher, task), shown in by_pair(history).items():
        if task in excused:
            continue
        finals: dict[tuple[int, int], list[str]] = {}
        for each in shown:
            if each.final:
                finals.setdefault((each.run, each.attempt), []).append(each.state)
        ends += len(finals)
        wrong += [
            f"{watcher}: {task} ended twice in {attempt}: {states}"
            for attempt, states in finals.items()
            if len(set(states)) > 1
        ]
        wrong += [
            f"{watcher}: {task} was {after.state} after it had ended in the same attempt"
            for before, after in pairwise(shown)
            if before.final and not after.final and (before.run, before.attempt) == (after.run, after.attempt)
        ]
        done = history.executions.get(task)
        # Killed, and Redis forgot it before anybody noticed: a page that asks again is told that there is none.
        told_so = (watcher, task) in history.gone and done is not None and not done[-1].stopped
        if done and shown[-1].state not in expected(done) and not told_so:
            wrong.append(f"{watcher}: {task} is shown {shown[-1].state}, and was {done[-1].end or 'killed'}")
    # Cancelled before a worker took it, a task rightly does not run.
    revoked = {each.id for each in history.seen if each.state == "REVOKED"}
    never = [task for task in history.sent if task not in history.executions and task not in revoked]
    wrong += [f"{task} was sent and never ran" for task in never]
    told = f"{ends} ends shown" + (f", {len(excused)} tasks lost to a failover" if excused else "")
    return Finding(told, wrong) if ends else Finding("nothing", ["No end was shown"])


def never_back(history: History) -> Finding:
    """Promise 3: within an attempt neither the order nor the fraction goes back."""
    wrong, steps, excused = list[str](), 0, forgotten(history)
    for (watcher, task), shown in by_pair(history).items():
        if task in excused:
            continue
        for before, after in pairwise(shown):
            steps += 1
            if after.seq <= before.seq:
                wrong.append(f"{watcher}: {task} went back from seq {before.seq} to {after.seq}")
            same = (before.run, before.attempt) == (after.run, after.attempt)
            if (
                same
                and before.fraction is not None
                and after.fraction is not None
                and after.fraction < before.fraction
            ):
                wrong.append(f"{watcher}: {task} fell from {before.fraction} to {after.fraction}")
            if (after.run, after.attempt) < (before.run, before.attempt):
                wrong.append(f"{watcher}: {task} went back to attempt {after.attempt}")
    return Finding(f"{steps} steps", wrong) if steps else Finding("nothing", ["No step was shown"])


def one_writer(history: History) -> Finding:
    """Promise 4: once an execution is shown, nothing of one before it is. Each says its name in its message."""
    wrong, several = list[str](), 0
    order = {one.exec: place for done in history.executions.values() for place, one in enumerate(done)}
    several = sum(len(done) > 1 for done in history.executions.values())
    for (watcher, task), shown in by_pair(history).items():
        newest = -1
        for each in shown:
            place = order.get(each.message, -1)
            if 0 <= place < newest:
                wrong.append(f"{watcher}: {task} showed execution {place + 1} after {newest + 1}")
            newest = max(newest, place)
    if not several:
        return Finding("nothing", ["No task was executed twice"])
    return Finding(f"{several} tasks with several executions", wrong)


def cancelled_when_stopped(history: History) -> Finding:
    """Promise 13: nobody is told "cancelled" while the body runs."""
    wrong, times = list[str](), 0
    for (watcher, task), shown in by_pair(history).items():
        revoked = next((each for each in shown if each.state == "REVOKED"), None)
        done = history.executions.get(task)
        if revoked is None or not done:
            continue
        times += 1
        if not done[-1].stopped or revoked.at < done[-1].stopped:
            wrong.append(f"{watcher}: {task} was called cancelled while it ran")
    return (
        Finding(f"{times} times shown as cancelled", wrong)
        if times
        else Finding("nothing", ["Nothing was cancelled"])
    )


def within(delays: dict[str, float | None], bar: float, what: str) -> Finding:
    """Everything of a kind happened in time; None = it never did."""
    wrong = [
        f"{name}: {'never' if late is None else f'{late:.1f} s'}"
        for name, late in delays.items()
        if late is None or late > bar
    ]
    happened = [late for late in delays.values() if late is not None]
    if not delays:
        return Finding("nothing", [f"No {what} was measured"])
    return Finding(f"{len(happened)} of {len(delays)} {what}, worst {max(happened, default=0):.1f} s", wrong)


def first(shown: Iterable[Seen], fits: Callable[[Seen], bool]) -> float | None:
    """When something was first shown."""
    return next((each.at for each in shown if fits(each)), None)
