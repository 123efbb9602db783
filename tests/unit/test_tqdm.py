"""`progress.tqdm` is tqdm on the terminal and a report besides."""

from __future__ import annotations

import contextlib
import io
import itertools
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tqdm.contrib
from tqdm import std

import progress
from progress.options import Options
from progress.reporter import Job, Reporter, running
from progress.testing import collect
from progress.tqdm import tqdm as bar
from progress.tqdm import trange

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def out() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def reporter() -> Iterator[Reporter]:
    """A running task, of which nobody takes notice."""
    own = Reporter(Job("k", "n", "e", Options(unit="files")))
    token = running.set(own)
    yield own
    running.reset(token)


def counts(told: Any) -> list[tuple[float, float | None]]:
    """What was counted, each value once per stay."""
    return [pair for pair, _ in itertools.groupby((each["current"], each["total"]) for each in told)]


# --- What is told ------------------------------------------------------------------------------------------


def test_every_display_is_a_report(out: io.StringIO) -> None:
    """Total, count, unit and description are told as they are displayed."""
    told = collect(lambda: list(bar("abc", desc="Letters", unit="letters", file=out, mininterval=0)))
    assert counts(told) == [(0, None), (0, 3), (1, 3), (2, 3), (3, 3)]
    assert told.fractions == [None, 0, 1 / 3, 2 / 3, 0.9999, 1]
    assert (told.last["unit"], told.last["message"]) == ("letters", "Letters")
    assert told.messages == ["", "Letters"]


def test_the_count_at_the_end_is_exact(reporter: Reporter, out: io.StringIO) -> None:
    """However seldom it is displayed, and however much of an iterable there was."""
    for _ in bar(iter(range(12_345)), file=out):
        pass
    assert (reporter.current, reporter.total) == (12_345, None)


def test_the_count_at_a_failure_is_exact(out: io.StringIO) -> None:
    """An exception in the loop leaves the number of items that were done."""

    def body() -> None:
        for number in bar(range(1000), file=out):
            if number == 7:
                raise ValueError

    told = collect(body)
    assert told.states[-1] == "FAILURE"
    assert (told.last["current"], told.last["total"]) == (7, 1000)


def test_steps_by_hand(reporter: Reporter, out: io.StringIO) -> None:
    """`update`, `set_description`, a total that becomes known, `initial`, `reset` and `close`."""
    with bar(total=None, initial=5, file=out, mininterval=0) as mine:
        assert (reporter.current, reporter.total) == (5, None)
        mine.update(2)
        assert reporter.current == 7
        mine.total = 10
        mine.refresh()
        assert reporter.total == 10
        mine.set_description("Half")
        assert reporter._message == "Half"
        mine.set_description_str("All")
        assert reporter._message == "All"
        mine.reset(total=20)
        assert (reporter.current, reporter.total) == (0, 20)
        mine.mininterval = 60
        mine.update(19)
    assert (reporter.current, reporter.total) == (19, 20)


def test_a_bar_without_a_unit_counts_what_the_task_says(reporter: Reporter, out: io.StringIO) -> None:
    """tqdm's "it" is no unit; that of the task's options stays."""
    list(bar("ab", file=out))
    assert reporter._body()["unit"] == "files"


def test_a_bar_without_a_description_leaves_the_message(reporter: Reporter, out: io.StringIO) -> None:
    """What the task itself has said is not cleared."""
    reporter.update(message="Busy")
    list(bar("ab", file=out))
    assert reporter._message == "Busy"


def test_only_the_outermost_bar_is_told(out: io.StringIO) -> None:
    """Bars inside of it are displayed only."""

    def body() -> None:
        for _ in bar("abc", desc="Outer", file=out, mininterval=0):
            for _ in bar("de", desc="Inner", file=out, leave=False):
                pass

    told = collect(body)
    assert counts(told) == [(0, None), (0, 3), (1, 3), (2, 3), (3, 3)]
    assert told.messages == ["", "Outer"]
    assert "Inner" in out.getvalue()


def test_the_next_bar_begins_again(out: io.StringIO) -> None:
    """One after the other, as on a terminal; the message of the first does not stay."""

    def body() -> None:
        for _ in bar("abc", desc="First", file=out, mininterval=60):
            pass
        for _ in trange(2, file=out, mininterval=60):
            pass

    told = collect(body)
    assert counts(told) == [(0, None), (0, 3), (3, 3), (0, None), (0, 2), (2, 2)]
    assert told.last["message"] == ""


def test_a_bar_that_was_forgotten_gives_way(reporter: Reporter, out: io.StringIO) -> None:
    """Never closed, but nobody has it any more."""
    forgotten = bar(total=10, file=out)
    forgotten.update(10)
    del forgotten
    list(bar("ab", file=out))
    assert (reporter.current, reporter.total) == (2, 2)


def test_a_disabled_bar_is_told_and_not_displayed(out: io.StringIO) -> None:
    """`disable=True`, or `None` where there is no terminal, is about the terminal."""

    def body() -> None:
        for _ in bar("abc", "Letters", disable=True, file=out):
            pass
        with bar(total=10, initial=2, desc="Pages", disable=None, file=out) as mine:
            mine.update(3)
            mine.set_description("More pages")
            assert mine.n == 5

    told = collect(body)
    told.get()
    assert counts(told) == [
        *[(0, None), (0, 3), (1, 3), (2, 3), (3, 3)],
        *[(0, None), (2, 10), (5, 10)],
    ]
    assert told.messages == ["", "Letters", "Pages", "More pages"]
    assert out.getvalue() == ""


def test_disabled_bars_inside_of_another_are_not_told(reporter: Reporter, out: io.StringIO) -> None:
    """Silent ones follow the same rule, and count for themselves."""
    for _ in bar("ab", disable=True):
        inner = bar("cdef", disable=True)
        assert list(inner) == list("cdef")
        assert inner.n == 4
    assert (reporter.current, reporter.total) == (2, 2)


# --- Being cancelled ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("disable", [False, True])
def test_a_wish_to_cancel_stops_the_loop(disable: bool, out: io.StringIO) -> None:
    """The next display raises, the loop ends, and the count is that of the items that were done."""
    done: list[str] = []

    def letters() -> Iterator[str]:
        yield "a"
        yield "b"
        told.cancel()
        yield "c"
        yield "d"

    def body() -> None:
        for letter in bar(letters(), file=out, mininterval=0, disable=disable):
            done.append(letter)

    with collect() as told:
        collect(body)
    assert told.states[-1] == "REVOKED"
    assert done == ["a", "b", "c"]
    assert told.last["current"] >= 2


def test_closing_raises_nothing(reporter: Reporter, out: io.StringIO) -> None:
    """A bar that is closed while the task is being cancelled lets it clean up."""
    mine = bar(total=5, file=out)
    mine.n = 3
    reporter.ask_cancel()
    mine.close()
    assert reporter.current == 3


# --- Still tqdm --------------------------------------------------------------------------------------------


def printed(cls: Any, **options: Any) -> str:
    out = io.StringIO()
    with contextlib.suppress(ValueError):
        for number in cls(range(5), file=out, bar_format="{l_bar}{n_fmt}/{total_fmt} {unit}", **options):
            if options.get("desc") == "fails" and number == 3:
                raise ValueError
            cls.write(f"line {number}", file=out)
    return out.getvalue()


@pytest.mark.parametrize(
    "options",
    [{}, {"desc": "d", "unit": "rows"}, {"leave": False}, {"disable": True}, {"mininterval": 0}, {"desc": "fails"}],
    ids=str,
)
@pytest.mark.parametrize("in_a_task", [True, False])
def test_the_terminal_shows_what_tqdm_shows(options: dict[str, Any], in_a_task: bool) -> None:
    """Character by character, `write` included."""
    token = running.set(Reporter(Job("k", "n", "e", Options()))) if in_a_task else None
    assert printed(bar, **options) == printed(std.tqdm, **options)
    if token:
        running.reset(token)


def test_outside_a_task_nothing_is_reported(out: io.StringIO) -> None:
    """It is a plain bar."""
    assert list(bar("ab", file=out)) == ["a", "b"]
    assert list(bar("ab", disable=True)) == ["a", "b"]
    assert progress.reporter().current == 0


def test_what_builds_on_the_class_works(reporter: Reporter, out: io.StringIO) -> None:
    """tqdm's own functions take it as `tqdm_class`; `wrapattr` counts bytes."""
    assert list(tqdm.contrib.tenumerate("ab", tqdm_class=bar, file=out)) == [(0, "a"), (1, "b")]
    assert (reporter.current, reporter.total) == (2, 2)
    with bar.wrapattr(io.BytesIO(b"12345"), "read", total=5, file=out) as stream:
        stream.read()
    assert (reporter.current, reporter.total, reporter._body()["unit"]) == (5, 5, "B")


def test_iterating_costs_what_tqdm_costs(reporter: Reporter, out: io.StringIO) -> None:
    """The loop and the count are tqdm's own, so a step costs nothing more; a clock would notice more than half."""

    def seconds(cls: Any) -> float:
        began = time.perf_counter()
        for _ in cls(range(200_000), file=out):
            pass
        return time.perf_counter() - began

    assert bar.__iter__ is std.tqdm.__iter__
    assert bar.update is std.tqdm.update
    rounds = [(seconds(std.tqdm), seconds(bar)) for _ in range(7)]
    theirs, ours = (min(column) for column in zip(*rounds, strict=True))
    assert ours < 1.5 * theirs
    assert reporter.current == 200_000


def test_without_tqdm_the_error_says_what_to_install() -> None:
    """tqdm is needed by nothing else."""
    script = """
import sys
sys.modules["tqdm"] = None
import progress
try:
    import progress.tqdm
except ImportError as error:
    print(error)
"""
    env = {"DJANGO_SETTINGS_MODULE": "tests.settings", "PATH": ""}
    done = subprocess.run(
        [sys.executable, "-c", script], env=env, cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "pip install 'django-task-progress[tqdm]'" in done.stdout
