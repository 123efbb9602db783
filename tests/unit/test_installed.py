"""Who else has files in our folder: found in what pip writes down, and in nothing else."""

from __future__ import annotations

from pathlib import Path

from progress import installed


def install(site: Path, name: str, *files: str, egg: bool = False) -> None:
    """What pip leaves beside the files of a distribution."""
    beside = site / f"{name.replace('-', '_')}-1.0{'.egg-info' if egg else '.dist-info'}"
    beside.mkdir(parents=True)
    (beside / ("PKG-INFO" if egg else "METADATA")).write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    lines = [f"../{file}" if egg else f"{file},sha256=abc,10" for file in files]
    (beside / ("installed-files.txt" if egg else "RECORD")).write_text("\n".join(lines) + "\n")


def test_nobody_else_is_here() -> None:
    """This copy has its folder for itself."""
    assert installed.others() == []


def test_ours_is_no_other(tmp_path: Path) -> None:
    """However its name is written."""
    install(tmp_path, "Django_Task.Progress", "progress/__init__.py")
    assert installed.others(tmp_path / "progress") == []


def test_others_are_named_whatever_installed_them(tmp_path: Path) -> None:
    """A wheel and an old-fashioned install; the first file of a list counts as any other."""
    install(tmp_path, "progress", "progress/__init__.py", "progress/bar.py")
    install(tmp_path, "Old-Bars", "something.py", "progress/old.py", egg=True)
    install(tmp_path, "django-task-progress", "progress/__init__.py")
    assert installed.others(tmp_path / "progress") == ["old-bars", "progress"]


def test_similar_names_are_none_of_our_business(tmp_path: Path) -> None:
    """Folders that begin or end alike, and a folder of that name inside another package."""
    install(tmp_path, "progressbar2", "progressbar/__init__.py", "progress.py")
    install(tmp_path, "celery-progress", "celery_progress/backend.py")
    install(tmp_path, "rich", "rich/progress/__init__.py", "rich/progress.py")
    assert installed.others(tmp_path / "progress") == []
