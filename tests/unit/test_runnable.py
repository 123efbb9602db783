"""Which tasks the pages of the admin know: all that autodiscovery finds, whatever was imported before."""

from __future__ import annotations

import sys

import pytest
from celery import Celery, current_app

from progress import runnable
from progress.admin_filters import tracked_names
from progress.runnable import NoSuchTask, runnable_tasks, task_named

MODULE = """
import progress
from celery import current_app

@current_app.task(name="unseen.report", shared=False)
@progress.options(runnable=True)
def report():
    pass
"""


@pytest.fixture
def autodiscovered(tmp_path, monkeypatch):
    """An app that finds its tasks in this text, in a package that nothing has imported."""
    before = current_app._get_current_object()
    monkeypatch.syspath_prepend(str(tmp_path))
    apps: list[Celery] = []
    package = tmp_path / "unseen_package"
    package.mkdir()
    (package / "__init__.py").touch()

    def make(text):
        (package / "tasks.py").write_text(text)
        app = Celery("unseen", broker="memory://", set_as_current=True)
        app.autodiscover_tasks(["unseen_package"])
        apps.append(app)

    yield make
    for app in apps:
        app.close()  # or tasks of other tests would be entered there, too
    before.set_current()
    runnable._discover.cache_clear()
    for name in [name for name in sys.modules if name.startswith("unseen_package")]:
        del sys.modules[name]


def test_tasks_are_known_though_no_page_has_imported_them(autodiscovered):
    """A web process imports no tasks by itself; staff find them all the same, to start and to filter by."""
    autodiscovered(MODULE)
    assert "unseen.report" in runnable_tasks()
    assert "unseen.report" in tracked_names()
    assert task_named("unseen.report").name == "unseen.report"


def test_module_that_cannot_be_imported_here_is_told_once_and_breaks_no_page(autodiscovered, monkeypatch):
    """It may need what only workers have. The other tasks are there."""
    told = []
    monkeypatch.setattr(runnable.logger, "exception", told.append)
    autodiscovered("import no_such_library_of_the_workers")
    assert "unseen.report" not in runnable_tasks()
    assert "unseen.report" not in tracked_names()
    assert ["could not be imported" in each for each in told] == [True]
    with pytest.raises(NoSuchTask, match="autodiscovery"):
        task_named("unseen.report")
