"""The wheel of this project, and a fresh environment with it: what `pip install` gives to somebody else."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.processes import ROOT

HERE = Path(__file__).resolve().parent
# Neither what other commands made here nor what is downloaded belongs to the project.
NOT_COPIED = shutil.ignore_patterns(
    ".git", ".venv*", "node_modules", "var*", "build", "dist", "*.egg-info", "__pycache__", ".*_cache", ".hypothesis"
)


def run(*command: str | Path, cwd: Path = ROOT, env: Mapping[str, str] | None = None, both: bool = False) -> str:
    """What a program says on its standard output, or on `both`; its failure is the test's, with all that it said."""
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, env=env, capture_output=True, text=True, timeout=300, check=False
    )
    if done.returncode:
        raise AssertionError(f"{command}: {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stderr + done.stdout if both else done.stdout


def build_wheel(folder: Path) -> Path:
    """The wheel, built as for a release: from the source distribution of a clean copy of the whole project."""
    copy = folder / "copy"
    shutil.copytree(ROOT, copy, ignore=NOT_COPIED)
    run(sys.executable, "-m", "build", "--outdir", folder / "dist", cwd=copy)
    (wheel,) = (folder / "dist").glob("*.whl")
    return wheel


def make_environment(folder: Path, wheel: Path) -> Path:
    """A fresh virtual environment with the wheel and what the shop needs; the answer is its Python."""
    run(sys.executable, "-m", "venv", folder)
    python = folder / "bin" / "python"
    # A constraint has neither hashes nor extras; its marker, where there is one, stays.
    locked = re.findall(
        r"^([\w.-]+)(?:\[.*?\])?(==[^\\\n]+)", (ROOT / "requirements-dev.txt").read_text(), re.MULTILINE
    )
    constraints = folder / "constraints.txt"
    constraints.write_text("".join(f"{name}{version}\n" for name, version in locked))
    packages = (wheel, "djangorestframework", "daphne", "--requirement", HERE / "requirements.txt")
    run(python, "-m", "pip", "install", "--quiet", "--constraint", constraints, *packages)
    return python


def bare_environment(python: Path) -> dict[str, str]:
    """Environment variables for a program in that environment: none of this project's or of this test run's."""
    kept = {name: os.environ[name] for name in ("HOME", "LANG", "TMPDIR") if name in os.environ}
    return {**kept, "PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}", "PYTHONUNBUFFERED": "1"}
