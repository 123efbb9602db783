"""What benchmarks are told by: figures, the page, and how two runs compare. What they measure is for `make bench`."""

from __future__ import annotations

import copy
import os
import re
import signal
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from bench import __main__ as command
from bench import compare, report, results
from bench.figures import Bar, Column, Outcome, Spread, paired, transposed
from bench.scenarios import SCENARIOS

ROOT = Path(__file__).resolve().parent.parent.parent
MACHINE = {
    "date": "2026-11-21",
    "system": "Linux 6.1.0",
    "cpu": "Model 1",
    "cores": 2,
    "python": "CPython 3.11.7",
    "redis": "redis 7.0.15",
    "nginx": "",
    "packages": {"Django": "5.2.19"},
}


def outcome(*, limit: float = 0.5, ours: float = 2.0, **fields: Any) -> dict[str, Any]:
    """A scenario as it stands in the results: `ours` µs against about 10, which is a ratio of `ours` / 10."""
    rows = {
        "the other": {"cost": [9.0, 10.0, 11.0], "delivered": [100.0, 100.0, 100.0]},
        "ours": {"cost": [ours * 0.9, ours, ours * 1.1], "delivered": [90.0, 100.0, 110.0]},
    }
    columns = [Column("cost", "µs", "CPU of the server"), Column("delivered", "per s", more_is_better=True)]
    bars = [Bar("cost, ours against the other", paired(rows, "cost", "ours", "the other"), limit)]
    found = asdict(Outcome("What it costs", "Both do the same.", columns, rows, bars, plot="cost"))
    return {"machine": MACHINE, "seconds": 300, **found, **fields}


# --- Figures -----------------------------------------------------------------------------------------------


def test_a_ratio_is_taken_within_each_repetition() -> None:
    """A busy moment that hits both sides of a repetition leaves the ratio as it is."""
    rows = {"ours": {"cost": [1.0, 5.0, 1.0]}, "theirs": {"cost": [2.0, 10.0, 4.0]}}
    assert paired(rows, "cost", "ours", "theirs") == [0.5, 0.5, 0.25]


def test_sides_with_different_numbers_of_repetitions_have_no_ratio() -> None:
    """A repetition without its pair is an error, not left out."""
    with pytest.raises(ValueError, match="zip"):
        paired({"ours": {"cost": [1.0]}, "theirs": {"cost": [2.0, 10.0]}}, "cost", "ours", "theirs")


def test_repetitions_become_columns() -> None:
    """What was found one repetition after another is kept by column, in that order."""
    assert transposed([{"a": 1, "b": 2}, {"a": 3, "b": 4}]) == {"a": [1.0, 3.0], "b": [2.0, 4.0]}


def test_a_spread_is_median_lowest_and_highest() -> None:
    """The middle one counts, not the mean."""
    assert Spread.of([9.0, 1.0, 2.0]) == Spread(median=2.0, low=1.0, high=9.0)


def test_the_median_decides_whether_a_bar_is_kept() -> None:
    """In both senses, and a value at the limit keeps it."""
    assert report.kept(asdict(Bar("cheap", [0.4, 0.5, 0.9], limit=0.5)))
    assert not report.kept(asdict(Bar("cheap", [0.4, 0.6, 0.7], limit=0.5)))
    assert report.kept(asdict(Bar("quick", [0.1, 0.8, 0.9], limit=0.8, sense="at least")))
    assert not report.kept(asdict(Bar("quick", [0.1, 0.7, 0.9], limit=0.8, sense="at least")))


# --- The page ----------------------------------------------------------------------------------------------


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where `report.write` writes. No pictures are drawn."""
    monkeypatch.setattr(report, "PAGE", tmp_path / "benchmarks.md")
    monkeypatch.setattr(report, "_draw", lambda found: None)
    return tmp_path / "benchmarks.md"


def test_a_missed_bar_is_an_error(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The run that misses a bar ends with 1 and says which; what was not run now does not count."""
    found = {"fanout": outcome(), "latency": outcome(limit=0.1)}
    assert report.write(found, only=["fanout"]) == 0
    assert "MISSED" not in capsys.readouterr().out
    assert report.write(found, only=["fanout", "latency"]) == 1
    assert "**MISSED**: cost, ours against the other: 0.200 ×" in capsys.readouterr().out


def test_rendering_again_is_no_error(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a run there is nothing to fail and nothing to tell; the page is written."""
    assert report.write({"latency": outcome(limit=0.1)}) == 0
    assert (capsys.readouterr().out, page.exists()) == ("", True)


def test_the_same_results_give_the_same_page() -> None:
    """In whatever order the results come, the page has the order of `SCENARIOS`."""
    found = {"latency": outcome(title="Late"), "fanout": outcome(title="Spread")}
    backwards = dict(reversed(found.items()))
    assert report.page(found) == report.page(backwards)
    assert report.page(found).index("## Spread") < report.page(found).index("## Late")


def test_a_side_that_could_not_take_part_is_named() -> None:
    """With the reason."""
    text = report.page({"fanout": outcome(missing={"nchan": "nginx is not installed"})})
    assert "Not measured: **nchan**. nginx is not installed." in text


def test_a_missed_bar_says_what_the_limit_is_made_of() -> None:
    """The reason stands where the bars are; a kept bar needs none."""
    found = outcome(limit=0.1)
    found["bars"][0] |= {"why": "It is all\nsystem calls.", "near": "1.31 × the floor."}
    told = "What it costs, cost, ours against the other: It is all system calls. How near: 1.31 × the floor."
    assert told in report.page({"fanout": found})
    found["bars"][0]["limit"] = 0.5
    assert "It is all system calls." not in report.page({"fanout": found})


def test_a_cell_is_the_median_with_lowest_and_highest() -> None:
    """The spread is left out where there is none, and a figure that a side does not have is a dash."""
    found = outcome()
    found["rows"]["third"] = {"cost": [5.0, 5.0, 5.0]}
    text = report.page({"fanout": found})
    assert "| | cost, µs | delivered, per s |" in text
    assert "| ours | 2.00 (1.80 … 2.20) | 100 (90.0 … 110) |" in text
    assert "| third | 5.00 | – |" in text


@pytest.mark.parametrize(("value", "shown"), [(1.2, "1.20"), (1.202, "1.202"), (1.31, "1.31")])
def test_a_rounded_figure_shows_on_which_side_of_the_bar_it_is(value: float, shown: str) -> None:
    """With one digit more where three would look like the limit itself."""
    found = outcome()
    found["bars"] = [asdict(Bar("near", [value], limit=1.2))]
    assert f"near: {shown} ×; the bar is at most 1.2 ×" in report.section("fanout", found)


def test_the_machine_is_told_once_if_it_was_the_same() -> None:
    """Else each scenario says where it was measured."""
    other = {**MACHINE, "python": "CPython 3.13.1"}
    assert report.page({"fanout": outcome(), "latency": outcome()}).count("CPython 3.11.7") == 1
    text = report.page({"fanout": outcome(), "latency": outcome(machine=other)})
    assert text.index("## What it costs") < text.index("CPython 3.11.7") < text.index("CPython 3.13.1")


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        *[(0.0, "0"), (0.02387, "0.0239"), (0.5, "0.500"), (9.996, "10.0"), (12.34, "12.3"), (999.6, "1,000")],
        *[(123_456, "123,000"), (-0.31, "-0.310")],
    ],
)
def test_figures_have_three_digits_that_mean_something(value: float, shown: str) -> None:
    """No more, and no less."""
    assert report.short(value) == shown


# --- Two runs ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "now", "verdict"),
    [
        ([9.0, 10.0, 11.0], [12.0, 13.0, 14.0], "worse"),
        ([9.0, 10.0, 11.0], [10.5, 13.0, 14.0], "same"),  # the spreads overlap
        ([10.0, 10.0, 10.0], [10.8, 10.9, 10.95], "same"),  # less than a tenth
        ([9.0, 10.0, 11.0], [6.0, 7.0, 8.0], "better"),
        ([0.0, 0.0, 0.0], [1.0, 1.0, 1.0], "worse"),
    ],
)
def test_a_change_is_more_than_a_tenth_and_more_than_the_spread(
    before: list[float], now: list[float], verdict: str
) -> None:
    """Where less is better; where more is, it is the other way round."""
    assert compare.judge(before, now, more_is_better=False) == verdict
    turned = {"worse": "better", "better": "worse", "same": "same"}[verdict]
    assert compare.judge(before, now, more_is_better=True) == turned


def test_the_same_run_is_no_worse(capsys: pytest.CaptureFixture[str]) -> None:
    """Held against itself, nothing changed."""
    found = {"fanout": outcome()}
    assert compare.tell(found, copy.deepcopy(found)) == 0
    assert "worse:" not in capsys.readouterr().out


def test_a_bar_that_was_kept_and_is_missed_is_an_error() -> None:
    """One that was missed before and is no worse is not, nor one whose limit lies within the spread."""
    assert compare.tell({"fanout": outcome()}, {"fanout": outcome(ours=6.0)}) == 1
    missed = {"fanout": outcome(limit=0.1)}
    assert compare.tell(missed, missed) == 0
    kept, now = outcome(limit=0.2), outcome(limit=0.2)
    now["bars"][0]["values"] = [0.19, 0.21, 0.22]
    assert compare.tell({"fanout": kept}, {"fanout": now}) == 0


def test_versions_that_differ_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    """What got worse may be theirs."""
    other = {**MACHINE, "packages": {"Django": "6.0", "redis": "9"}}
    compare.tell({"fanout": outcome()}, {"fanout": outcome(machine=other)})
    said = capsys.readouterr().out
    assert "Django 5.2.19 then, 6.0 now" in said
    assert "redis not there then, 9 now" in said


def test_a_ratio_that_got_worse_is_an_error_on_any_machine(capsys: pytest.CaptureFixture[str]) -> None:
    """Its bar may still be kept."""
    now = outcome(ours=4.0, machine={**MACHINE, "cores": 8})
    assert compare.tell({"fanout": outcome()}, {"fanout": now}) == 1
    said = capsys.readouterr().out
    assert "worse: bar kept: cost, ours against the other" in said
    assert "not judged: ours, cost: 2.00 µs" in said


def test_absolute_figures_are_judged_on_the_same_machine(capsys: pytest.CaptureFixture[str]) -> None:
    """They are told, and only bars decide."""
    now = outcome()
    now["rows"]["ours"]["delivered"] = [50.0, 51.0, 52.0]
    assert compare.tell({"fanout": outcome()}, {"fanout": now}) == 0
    assert "worse: ours, delivered: 100 per s (90.0 … 110) then, 51.0 per s" in capsys.readouterr().out


def test_a_bar_in_seconds_is_not_judged_on_another_machine() -> None:
    """Unless it is missed."""
    before, now = outcome(), outcome(machine={**MACHINE, "cores": 8})
    for found, values in ((before, [1.0, 1.0]), (now, [2.0, 2.0])):
        found["bars"] = [asdict(Bar("late", values, limit=3, unit="s"))]
    assert compare.tell({"latency": before}, {"latency": now}) == 0
    now["bars"][0]["values"] = [4.0, 4.0]
    assert compare.tell({"latency": before}, {"latency": now}) == 1


def test_what_was_not_measured_before_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """A new scenario, and a side that is not there now."""
    now = outcome(missing={"the other": "It is not installed."})
    del now["rows"]["the other"]
    assert compare.tell({"fanout": outcome()}, {"fanout": now, "latency": outcome()}) == 0
    said = capsys.readouterr().out
    assert "the other: not measured now. It is not installed." in said
    assert "was not measured before" in said


# --- The command -------------------------------------------------------------------------------------------


@pytest.fixture
def measured(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Calls `python -m bench` with arguments; scenarios "measure" what is in the dictionary, else they fail."""
    monkeypatch.setattr(results, "COMMITTED", tmp_path / "results.json")

    def run(*arguments: str, **found: dict[str, Any]) -> int:
        def apart(name: str, _repetitions: int, into: Path) -> bool:
            if name in found:
                results.save(into, name, found[name])
            return name in found

        monkeypatch.setattr(command, "_measured_apart", apart)
        monkeypatch.setattr(sys, "argv", ["bench", *arguments])
        return command.main()

    return run


def test_a_scenario_that_fails_costs_only_itself(measured: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """What the others found is kept and told, and the command ends with 1."""
    assert measured("fanout", "latency", fanout=outcome()) == 1
    assert set(results.load()) == {"fanout"}
    said = capsys.readouterr()
    assert "## What it costs" in said.out
    assert "ended with an error: latency" in said.err


def test_what_is_measured_again_replaces_its_own_results(measured: Any) -> None:
    """The rest of the page stays as it was."""
    assert measured("fanout", "latency", fanout=outcome(), latency=outcome(title="Late")) == 0
    assert measured("fanout", fanout=outcome(title="Fanned out")) == 0
    assert {name: found["title"] for name, found in results.load().items()} == {
        "fanout": "Fanned out",
        "latency": "Late",
    }


def test_comparing_writes_nothing(measured: Any) -> None:
    """The committed results stay, whatever was found."""
    assert measured("fanout", fanout=outcome()) == 0
    before = results.load()
    assert measured("fanout", "--compare", fanout=outcome(ours=9.0)) == 1
    assert results.load() == before


def test_a_quick_look_writes_nothing(measured: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Fewer repetitions are no results: they are told."""
    assert measured("fanout", "--repetitions", "1", fanout=outcome(limit=0.1)) == 1
    assert "**MISSED**: cost" in capsys.readouterr().out
    assert results.load() == {}


MEASURING = """
import signal, sys, time
try:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    print("measures", flush=True)
    time.sleep(60)
finally:
    time.sleep(0.5)  # longer than an interpreter that was interrupted waits for its children
    print("all stopped", flush=True)
"""
STOPPED = """
import pathlib, sys
from bench import __main__ as command
command.MEASURES = (sys.executable, "-c", sys.argv.pop(1))
command._measured_apart("fanout", 1, pathlib.Path("never"))
"""


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_whoever_stops_it_waits_until_its_servers_are_stopped(sent: signal.Signals) -> None:
    """Ctrl-C tells both processes, SIGTERM only the one that waits."""
    words = [sys.executable, "-c", STOPPED, MEASURING]
    with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True, process_group=0) as command:
        assert command.stdout
        assert command.stdout.readline() == "measures\n"
        os.killpg(command.pid, sent) if sent is signal.SIGINT else command.send_signal(sent)
        command.wait(20)
        assert command.stdout.read() == "all stopped\n"
        assert command.returncode != 0


# --- In step -----------------------------------------------------------------------------------------------


def test_the_page_is_what_the_results_say() -> None:
    """Nobody has edited one without the other; `python -m bench --render` writes the page again."""
    assert (ROOT / "docs" / "benchmarks.md").read_text() == report.page(results.load())


def test_every_picture_on_the_page_is_there() -> None:
    """In light and dark."""
    shown = re.findall(r'(?:src|srcset)="(img/bench/[^"]+)"', (ROOT / "docs" / "benchmarks.md").read_text())
    assert {ROOT / "docs" / name for name in shown} == set((ROOT / "docs" / "img" / "bench").glob("*.svg"))


def test_results_are_kept_with_four_digits(tmp_path: Path) -> None:
    """So that a diff is readable; the results of other scenarios stay."""
    file = tmp_path / "results.json"
    results.save(file, "fanout", {"bars": [{"values": [0.123456, 12345.678]}]})
    results.save(file, "latency", {"seconds": 1})
    assert results.load(file) == {"fanout": {"bars": [{"values": [0.1235, 12350.0]}]}, "latency": {"seconds": 1}}


def test_every_scenario_is_a_module_that_is_explained() -> None:
    """`SCENARIOS` has all modules of the folder, and `bench/README.md` a word about each."""
    files = (ROOT / "bench" / "scenarios").glob("*.py")
    modules = {file.stem for file in files} - {"__init__"}
    assert modules == set(SCENARIOS)
    text = (ROOT / "bench" / "README.md").read_text()
    explained = set(re.findall(r"^- `bench/scenarios/(\w+)\.py`", text, re.MULTILINE))
    assert explained == modules


def test_what_measures_is_locked_as_what_tests() -> None:
    """The environment of `make bench` has every package of the tests', in the same version."""

    def pins(name: str) -> set[str]:
        return set(re.findall(r"^[a-z0-9._-]+==[^\s;]+", (ROOT / name).read_text(), re.MULTILINE))

    assert pins("requirements-dev.txt") <= pins("requirements-bench.txt")
