"""What scenarios make of their readings, where a bar hangs on it."""

from __future__ import annotations

from math import isclose

from bench.counting import AUTHORIZE
from bench.scenarios.busy_task import _disturbed, _told
from bench.scenarios.reconnect import SESSION, _per_user

QUIET = (0.010, 0.0)  # s of CPU: of the task's thread in one turn, and of the others


def test_a_task_that_nothing_disturbs_pays_for_its_calls_only() -> None:
    """What turns with reports take more is the calls: nothing is beyond them."""
    found = _told([((0.0101, 0.0), QUIET)] * 100, others=0.0, calls=0.01)
    assert isclose(found["CPU"], 1.01)
    assert isclose(found["without"], 1.0)
    assert abs(found["beyond the calls"]) < 1e-9


def test_what_the_publisher_takes_counts_whichever_turn_it_falls_into() -> None:
    """30 ms of two seconds of work are 1.5 %; the two turns in which it ran are not taken for dearer steps."""
    turns = [(QUIET, QUIET)] * 98 + [((0.010, 0.015), QUIET), (QUIET, (0.010, 0.015))]
    found = _told(turns, others=0.03, calls=0.0)
    assert isclose(found["publisher"], 1.5)
    assert isclose(found["beyond the calls"], 1.5)


def test_a_turn_beside_the_publisher_is_held_against_the_quiet_ones_around_it() -> None:
    """In the middle against both, at an end against one; where no turn is quiet there is nothing to compare."""
    before, disturbed, after = (0.010, 0.0), (0.014, 0.001), (0.012, 0.0)
    assert isclose(_disturbed([before, disturbed, after]), 0.003)
    assert isclose(_disturbed([disturbed, after]), 0.002)
    assert isclose(_disturbed([before, disturbed]), 0.004)
    assert _disturbed([disturbed, disturbed]) == 0
    assert _disturbed([before, after]) == 0


def test_what_a_site_was_asked_is_told_per_user() -> None:
    """Queries of all tables, but not the calls of the function; of those, the action that it is asked about most."""
    before = {SESSION: 10, "auth_user": 10, f"{AUTHORIZE}watch": 5}
    after = {SESSION: 14, "auth_user": 12, f"{AUTHORIZE}watch": 7, f"{AUTHORIZE}cancel": 1}
    assert _per_user(before, after, 2) == {"look-ups": 2.0, "queries": 3.0, "asked": 1.0}
    assert _per_user(after, after, 2) == {"look-ups": 0.0, "queries": 0.0, "asked": 0.0}
