"""The arithmetic of latency in the benchmarks: what counts as shown, since when, and which value a percentile is."""

from __future__ import annotations

import pytest

from bench.crowd import Sighting
from bench.lateness import lateness, percentile, rising


def shown(*pairs: tuple[int, int]) -> list[Sighting]:
    """What one watcher was shown of one task: pairs of a step and the moment."""
    return [Sighting(0, "import", current, at) for current, at in pairs]


def test_a_step_counts_from_its_moment_until_it_is_shown() -> None:
    """Each one by itself, where nothing is left out."""
    assert lateness([(1, 100), (2, 200)], shown((1, 103), (2, 205))) == [3, 5]


def test_a_step_that_was_overtaken_is_as_late_as_what_overtook_it() -> None:
    """Leaving out does not look quick."""
    assert lateness([(1, 100), (2, 110), (3, 120)], shown((1, 101), (3, 125))) == [1, 15, 5]


def test_a_step_that_comes_after_a_newer_one_was_shown_with_that_one() -> None:
    """Arriving late in addition changes nothing."""
    assert lateness([(1, 100), (2, 110)], shown((2, 112), (1, 150))) == [12, 2]


def test_only_the_first_sight_of_a_step_counts() -> None:
    """A sign of life says the same step again, and nothing at all before the first."""
    assert lateness([(1, 100), (2, 200)], shown((0, 50), (1, 101), (1, 190), (2, 202), (2, 300))) == [1, 2]


def test_some_steps_may_be_asked_about_alone() -> None:
    """The first ones are a warm-up in some scenarios; what was shown of them is no harm."""
    assert lateness([(3, 300)], shown((1, 101), (2, 202), (3, 304))) == [4]


@pytest.mark.parametrize(("seen", "lost"), [((), 3), (((1, 101),), 2), (((1, 101), (2, 111)), 1)])
def test_a_step_that_was_never_shown_is_an_error(seen: tuple[tuple[int, int], ...], lost: int) -> None:
    """No figure is made of what did arrive."""
    with pytest.raises(RuntimeError, match=f"^{lost} of 3 steps of the import were never shown"):
        lateness([(1, 100), (2, 110), (3, 120)], shown(*seen), of="the import")


def test_a_late_sender_counts_where_steps_have_the_moment_when_they_were_due() -> None:
    """It hung for 50 and took three steps at once: whoever counts from when they were taken sees nothing of it."""
    due, taken = [(1, 100), (2, 110), (3, 120)], [(1, 150), (2, 150), (3, 150)]
    seen = shown((1, 151), (2, 151), (3, 152))
    assert lateness(due, seen) == [51, 41, 32]
    assert lateness(taken, seen) == [1, 1, 2]


def test_rising_steps_are_those_newer_than_all_before() -> None:
    """Not those newer than the last one, and not step 0, which is how a task begins."""
    assert rising(shown((0, 1), (2, 2), (2, 3), (1, 4), (2, 5), (3, 6))) == shown((2, 2), (3, 6))


@pytest.mark.parametrize(
    ("count", "percent", "found"),
    [
        *[(1, 50, 1), (1, 99, 1), (2, 50, 1), (3, 50, 2), (60, 99, 60), (99, 99, 99)],
        *[(100, 99, 99), (120, 99, 119), (150, 99, 149), (200, 99, 198), (10, 100, 10), (10, 0, 1)],
    ],
)
def test_a_percentile_is_one_of_the_values(count: int, percent: int, found: int) -> None:
    """Of few values a high one is the highest; 99 % of 100 to 199 is the second highest. The order is no matter."""
    assert percentile(range(count, 0, -1), percent) == found


def test_there_is_no_percentile_of_nothing() -> None:
    """Better an error than a figure."""
    with pytest.raises(IndexError):
        percentile([], 99)
