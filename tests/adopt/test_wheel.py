"""What is built is the package and nothing else, and it stands in a fresh environment."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

from tests.processes import ROOT

from .building import run

# In the package folder, but no part of what runs.
NOT_PACKED = {"__pycache__"}


def test_the_wheel_holds_the_whole_package_and_nothing_else(wheel: Path) -> None:
    """Every file of `progress/`, the script, static files, templates and migrations among them, and no other."""
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
    folder = ROOT / "progress"
    here = {path for path in folder.rglob("*") if path.is_file() and not NOT_PACKED & set(path.parts)}
    assert packed == {str(path.relative_to(ROOT)) for path in here}
    for needed in (
        *(f"progress/{script}.lua" for script in ("beat", "queue", "read", "record", "step", "watch")),
        "progress/py.typed",
        "progress/static/progress/task-progress.js",
        "progress/templates/progress/task_progress.html",
        "progress/migrations/0001_initial.py",
        "progress/management/commands/progress_doctor.py",
    ):
        assert needed in packed


def test_the_wheel_says_what_it_needs(python: Path) -> None:
    """Installing it brought everything that its modules import; nothing in the environment contradicts it."""
    run(python, "-m", "pip", "check")
    found = run(
        python, "-c", "import progress, pathlib; print(pathlib.Path(progress.__file__).parent)", cwd=python.parent
    )
    assert Path(found.strip()).is_relative_to(python.parent.parent)


def test_the_other_package_of_that_name_is_noticed(wheel: Path, tmp_path: Path) -> None:
    """Installed into one folder, each overwrites the other; ours then names the other, by its real files."""
    target = tmp_path / "together"
    run(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", target, "progress==1.6.1")
    run(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", target, "--upgrade", wheel)
    said = run(sys.executable, "-c", _NAME_THE_OTHERS, cwd=target)
    assert said.strip() == "['progress']"


# As a file, because importing the package would need Django in that folder.
_NAME_THE_OTHERS = """
import importlib.util
spec = importlib.util.spec_from_file_location("installed", "progress/installed.py")
installed = importlib.util.module_from_spec(spec)
spec.loader.exec_module(installed)
print(installed.others())
"""
