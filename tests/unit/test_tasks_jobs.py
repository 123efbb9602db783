"""The list of jobs, and how the modules around it use `progress`: as any site would."""

import ast
from pathlib import Path

import pytest
from django.contrib.auth.models import AnonymousUser, User
from django.template.loader import get_template

import progress
from progress.options import options_of
from tasks import tasks
from tasks.jobs import JOBS, job_named, job_of
from tasks.models import Start
from tasks.outcomes import _OUTCOMES

FOLDER = Path(tasks.__file__).parent
# What is no name of `progress` itself: the mixin for the admin, in a module of its own as its document says; one
# module that reads records, and one that writes what senders and workers would have written.
BELOW = {
    "admin.py": {"progress.run_task_mixin.RunTaskMixin"},
    "demo.py": {
        "progress.arguments",
        "progress.conf.conf",
        "progress.models.TaskRun",
        "progress.options.options_of",
        "progress.record.Record",
        "progress.recorder",
        "progress.reporter.Job",
        "progress.reporter.Reporter",
        "progress.snapshot.LIVE",
        "progress.snapshot.State",
        "progress.store.Answer",
        "progress.store.Change",
        "progress.store.Write",
        "progress.store.get_store",
    },
    "runs.py": {
        "progress.authorize.rights_of",
        "progress.permissions.viewer_of",
        "progress.snapshot.address",
        "progress.store.get_store",
    },
}


def imported_from_progress(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.split(".")[0] == "progress"}
        elif isinstance(node, ast.ImportFrom) and not node.level and (node.module or "").split(".")[0] == "progress":
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("path", sorted(FOLDER.rglob("*.py")), ids=lambda path: str(path.relative_to(FOLDER)))
def test_jobs_use_the_public_interface(path):
    """`import progress` and its public names, as everybody's jobs do; who asks for more is named."""
    public = {"progress", *(f"progress.{name}" for name in progress.__all__)}
    assert imported_from_progress(path) - public == BELOW.get(str(path.relative_to(FOLDER)), set())


def test_nothing_here_is_imported_by_the_app_itself():
    """`progress` knows nothing of the jobs of a site."""
    package = Path(progress.__file__).parent
    names = {
        (getattr(node, "module", None) or "").split(".")[0]
        for path in package.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and not node.level
    }
    assert "tasks" not in names


def test_modules_can_be_held_in_mind():
    """None is longer than 300 lines."""
    assert {path.name: lines for path in FOLDER.glob("*.py") if (lines := path.read_text().count("\n")) > 300} == {}


def test_every_job_has_names_of_its_own():
    """In addresses, in its form's ids, and one task each."""
    for names in ([job.name for job in JOBS], [job.form.id_prefix for job in JOBS], [job.task.name for job in JOBS]):
        assert len(set(names)) == len(JOBS)
    assert [job.form.id_prefix for job in JOBS] == [job.name for job in JOBS]
    assert [job_named(job.name) for job in JOBS] == list(JOBS)
    assert job_named("none") is None


def test_the_job_of_a_start_is_that_of_its_task():
    """Also for a start of a task that is no job any more."""
    assert [job_of(Start(task=job.task.name)) for job in JOBS] == list(JOBS)
    assert job_of(Start(task="tasks.gone")) is None


@pytest.mark.parametrize("job", JOBS, ids=lambda job: job.name)
def test_every_job_says_what_it_does(job):
    """On its form and in the admin by its docstring: a sentence or two without a programmer's marks."""
    assert 20 < len(job.about) < 160
    assert job.about.endswith(".")
    assert "`" not in job.about
    assert job.about.startswith((job.task.run.__doc__ or "").split("\n")[0])


@pytest.mark.parametrize("job", JOBS, ids=lambda job: job.name)
def test_every_job_tells_its_end_to_whoever_watches(job):
    """With a title and a unit for people, its result and its reasons."""
    options = options_of(job.task.name, job.task.run)
    assert options.title
    assert (options.show_result, options.show_error, options.cancellable) == (True, True, True)
    assert job.task.ignore_result, "progress carries the result; nobody asks Celery for it"


def test_what_staff_may_start_takes_plain_arguments():
    """Tasks that need rows of a form's making cannot be started without it."""
    runnable = {job.name for job in JOBS if options_of(job.task.name, job.task.run).runnable}
    assert runnable == {"countdown", "feed", "tail"}
    assert runnable == {job.name for job in JOBS if not job.outcome}


def test_every_outcome_has_a_template():
    """A page that is opened after the end has something to show."""
    assert {job.outcome for job in JOBS if job.outcome} == set(_OUTCOMES)
    for name in [*_OUTCOMES, "part"]:
        assert get_template(f"outcomes/{name}.html")


def test_who_may_start_what():
    """Logs are for staff, everything else for whoever is logged in, nothing for anybody else."""
    nobody, user, staff = AnonymousUser(), User(username="u"), User(username="s", is_staff=True)
    assert [job.name for job in JOBS if job.may_be_started_by(nobody)] == []
    assert [job.name for job in JOBS if not job.may_be_started_by(user)] == ["tail"]
    assert all(job.may_be_started_by(staff) for job in JOBS)
