"""Tests are not left out in silence: what `conftest.py` promises about skips and a missing Chromium."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PASSES = "def test_passes():\n    assert True\n"
SKIPS = "import pytest\n\ndef test_skips():\n    pytest.skip('no reason')\n"
EXPECTED_TO_FAIL = "import pytest\n\n@pytest.mark.xfail\ndef test_fails():\n    assert False\n"
NEEDS_CHROMIUM = "def test_page(browser):\n    assert browser\n"


@pytest.fixture
def outcome(tmp_path):
    """Run pytest on files with the real conftest; the answer is exit status and output."""

    def run(*tests: str, ci: bool, path: str | None = None) -> tuple[int, str]:
        (tmp_path / "conftest.py").write_text("from tests.conftest import *\n")
        for number, text in enumerate(tests):
            (tmp_path / f"test_{number}.py").write_text(text)
        env = {**os.environ, "CI": "true" if ci else "", "PATH": path or os.environ["PATH"], "COLUMNS": "200"}
        env["PYTHONPATH"] = str(ROOT)
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-p", "no:randomly", "-c", ROOT / "pyproject.toml", tmp_path],
            cwd=tmp_path,
            env=env,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr

    return run


def test_what_passes_passes_in_ci(outcome):
    """The rules below do not fail a run in which everything ran."""
    assert outcome(PASSES, ci=True)[0] == pytest.ExitCode.OK


@pytest.mark.parametrize(("left_out", "name"), [(SKIPS, "test_skips"), (EXPECTED_TO_FAIL, "test_fails")])
def test_a_skip_fails_the_run_in_ci(outcome, left_out, name):
    """Where CI is set, a skipped or expected-to-fail test fails the run and is named; elsewhere it does not."""
    status, output = outcome(PASSES, left_out, ci=True)
    assert status == pytest.ExitCode.TESTS_FAILED
    assert "CI is set and these tests did not run" in output
    assert f"::{name}" in output.rpartition("did not run")[2]
    assert outcome(PASSES, left_out, ci=False)[0] == pytest.ExitCode.OK


def test_without_chromium_its_tests_are_left_out_loudly(outcome, tmp_path):
    """No Chromium on PATH: its tests are taken out, and one line says what is missing and how many."""
    status, output = outcome(PASSES, NEEDS_CHROMIUM, ci=False, path=str(tmp_path))
    assert status == pytest.ExitCode.OK
    assert "Chromium is missing: 1 tests were LEFT OUT" in output
    assert "1 passed, 1 deselected" in output


def test_without_chromium_ci_fails(outcome, tmp_path):
    """Where CI is set, a missing Chromium is an error that says so."""
    status, output = outcome(PASSES, NEEDS_CHROMIUM, ci=True, path=str(tmp_path))
    assert status == pytest.ExitCode.USAGE_ERROR
    assert "this machine lacks: Chromium" in output
