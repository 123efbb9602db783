"""Python interpreters, and virtual environments with chosen versions of what pyproject.toml names."""

from __future__ import annotations

import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from .plan import Environment

ROOT: Final = Path(__file__).resolve().parents[2]
# What a variant needs of the group `dev`; pytest is not among it.
OF_DEV: Final = ("gevent", "jsonschema", "pyyaml", "uvicorn", "websockets")


class NoPython(Exception):
    """An interpreter is missing; the message says what to install."""


# --- Interpreters ------------------------------------------------------------------------------------------


def find_python(version: str) -> Path:
    """The program of Python `version` ("3.12"): from PATH, else of pyenv, else of uv. Raises `NoPython`."""
    for candidate in _candidates(version):
        if _answers(candidate, version):
            return candidate
    raise NoPython(
        f"Expected a Python {version}, found none on PATH, in pyenv or in uv. Install it, for example: "
        f"apt install python{version} python{version}-venv, pyenv install {version}, or uv python install {version}"
    )


def _candidates(version: str) -> Iterator[Path]:
    if found := shutil.which(f"python{version}"):
        yield Path(found)  # of pyenv this may be a mere shim, which answers for the chosen version only
    for manager, question in (("pyenv", ("prefix", version)), ("uv", ("python", "find", version))):
        if program := shutil.which(manager):
            answer = _output(program, *question)
            if manager == "uv" and answer:
                yield Path(answer)
            elif answer:
                yield Path(answer.split(":")[0]) / "bin" / f"python{version}"


def _answers(program: Path, version: str) -> bool:
    return _output(str(program), "-c", "import ensurepip, sys; print('%d.%d' % sys.version_info[:2])") == version


def _output(*command: str) -> str:
    """What a program prints; "" when it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


# --- Requirements ------------------------------------------------------------------------------------------


def requirements(environment: Environment) -> list[str]:
    """What is installed, as pip takes it: all that pyproject.toml asks for, narrowed to this environment."""
    lines = []
    for asked in _asked():
        name = canonicalize_name(asked.name)
        if environment.lowest and (lower := lowest_of(asked)):
            asked.specifier &= f"=={lower}"
        elif name in ("django", "redis"):
            asked.specifier &= f"=={getattr(environment, name)}.*"
        lines.append(str(asked))
    return lines


def lowest_of(asked: Requirement) -> str:
    """The lower bound of a requirement; "" where it has none."""
    return next((one.version for one in asked.specifier if one.operator == ">="), "")


def _asked() -> Iterator[Requirement]:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())
    groups = declared["dependency-groups"]
    yield from map(Requirement, declared["project"]["dependencies"])
    yield from map(Requirement, groups["run"])
    for line in groups["dev"]:
        if isinstance(line, str) and canonicalize_name((asked := Requirement(line)).name) in OF_DEV:
            yield asked


# --- Environments ------------------------------------------------------------------------------------------


def make(environment: Environment, folder: Path) -> Path:
    """The interpreter of this environment below `folder`, which is made if it is not there as it should be."""
    python, wanted = find_python(environment.python), "\n".join(requirements(environment))
    place = folder / environment.name
    inside, stamp = place / "bin" / "python", place / "installed"
    if stamp.is_file() and stamp.read_text() == wanted and _answers(inside, environment.python):
        return inside
    subprocess.run([python, "-m", "venv", "--clear", place], check=True)
    listed = place / "requirements.txt"
    listed.write_text(wanted + "\n")
    pip = [inside, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"]
    done = subprocess.run([*pip, "--requirement", listed], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{environment.name} cannot be installed:\n{wanted}\n{done.stdout}{done.stderr}")
    stamp.write_text(wanted)
    return inside


def installed(python: Path) -> dict[str, str]:
    """The versions of all packages in an environment, by canonical name."""
    listed = _output(str(python), "-m", "pip", "list", "--format", "freeze", "--disable-pip-version-check")
    pairs = (line.split("==") for line in listed.splitlines() if "==" in line)
    return {canonicalize_name(name): version for name, version in pairs}
