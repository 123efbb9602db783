"""The Makefile's answers where a machine lacks something. Stand-ins play the interpreters."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def make(*arguments: str, path: str | None = None) -> subprocess.CompletedProcess[str]:
    env = {"PATH": path or "/usr/bin:/bin", "LC_ALL": "C"}
    return subprocess.run(
        [shutil.which("make"), "--no-print-directory", *arguments],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def interpreter(tmp_path):
    """A stand-in for Python that answers to ``--version`` and runs each ``-c`` by shell code."""

    def build(version: str, on_c: str) -> str:
        program = tmp_path / "python"
        program.write_text(
            f'#!/bin/sh\nif [ "$1" = --version ]; then echo "Python {version}"; exit; fi\n'
            f'if [ "$1" = -c ]; then case "$2" in {on_c} esac; fi\nexit 0\n'
        )
        program.chmod(0o755)
        return str(program)

    return build


def test_help_lists_every_command():
    """`make help`, and plain `make`, name all commands with what they do."""
    listed = make("help").stdout
    for command in ("install", "run", "check", "test", "bench", "lock", "clean", "help"):
        assert f"  make {command} " in listed
    assert make().stdout == listed


def test_an_old_python_is_a_clear_error(interpreter, tmp_path):
    """Below 3.11: what was expected, what came, how to name another."""
    old = interpreter("3.9.2", "*version_info*) exit 1;;")
    answer = make("install", f"PYTHON={old}", f"VENV={tmp_path}/venv")
    assert answer.returncode != 0
    assert "expected Python 3.11 or later, got Python 3.9.2. Name another: PYTHON=python3.12" in answer.stderr


def test_no_python_is_a_clear_error(tmp_path):
    """An interpreter that is not there is named."""
    answer = make("install", "PYTHON=python3.99", f"VENV={tmp_path}/venv")
    assert answer.returncode != 0
    assert "there is no 'python3.99'" in answer.stderr


def test_a_python_without_venv_names_the_package_to_install(interpreter, tmp_path):
    """Debian's Python comes without venv: the package is named with its version."""
    bare = interpreter("3.13.1", '*ensurepip*) exit 1;; *"%d.%d"*) echo 3.13; exit 0;;')
    answer = make("install", f"PYTHON={bare}", f"VENV={tmp_path}/venv")
    assert answer.returncode != 0
    assert "Install the package python3.13-venv" in answer.stderr
    assert not (tmp_path / "venv").exists()


def test_ci_without_npm_is_an_error(tmp_path):
    """Where CI is set, missing Node.js fails; elsewhere it is said loudly and the rest goes on."""
    for program in ("sh", "bash", "echo", "exit"):
        if found := shutil.which(program):
            (tmp_path / program).symlink_to(found)
    in_ci = make("js", "CI=true", path=str(tmp_path))
    assert in_ci.returncode != 0
    assert "npm is missing. Install Node.js" in in_ci.stderr
    elsewhere = make("js", "CI=", path=str(tmp_path))
    assert elsewhere.returncode == 0
    assert "LEFT OUT" in elsewhere.stderr
