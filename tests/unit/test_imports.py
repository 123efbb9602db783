"""Which module may know which. A new module is entered here, at its height, or this test fails."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent.parent / "progress"

# From the ground up: a module imports from lower layers only, not from its own.
LAYERS: list[set[str]] = [
    {
        "counters",
        "docstrings",
        "exceptions",
        "installed",
        "native_thread",
        "patient_receiver",
        "watchdog",
        "pool",
        "reasons",
        "signals",
    },
    {"annotations", "native_pool", "redis_url", "revoking"},
    {
        "conf",
        "database_pool",
        "ending",
        "from_settings",
        "model_fields",
        "per_loop",
        "pile",
        "redis_place",
        "snapshot",
    },
    {"redaction"},
    {
        "again",
        "breaker",
        "catalogue",
        "chores",
        "draining",
        "form_fields",
        "groups",
        "limits",
        "messages",
        "options",
        "origins",
        "owners",
        "record",
        "redis_clients",
        "servers",
        "stages",
        "together",
        "words",
    },
    {"counting", "event_flow", "event_requests", "rules", "workflow"},
    {"announcer", "claims", "control_group", "listeners", "outcome", "store", "subscription"},
    {"arguments", "models", "redis_changes", "redis_scripts", "revocations"},
    {"leases", "log_pages", "log_tails", "reporter", "result_backend", "history", "tokens"},
    {"redis_logs"},
    {"redis_writes"},
    {"functions", "log_capture", "pacing", "permissions", "memory_store", "redis_store", "tqdm"},
    {"authorize", "reviews"},
    {"grants"},
    {"access", "direct_publisher", "middleware", "outbox", "publishing", "runnable"},
    {"event_outbox", "publisher", "starting"},
    {"terminating", "trees", "watched"},
    {"followed_users", "mending", "true_end", "turns"},
    {"hub"},
    {"control", "heart", "own_tasks", "sending", "task_watches", "tree_watches"},
    {"worker_main"},
    {"conversation", "lifecycle", "views"},
    {"celery_progress", "consumers", "events", "hooks"},
    {"recorder", "routing", "urls"},
    {"asgi", "checks", "security_checks", "communicator", "forms", "admin_runs", "admin_timeline"},
    {"admin_filters", "admin_pages", "run_task_runs", "task_calls"},
    {"admin_control"},
    {"admin_start", "run_task_mixin"},
    {"admin", "apps", "tasks", "testing"},
    {"pytest_plugin"},
]
# Above all of them; nothing in the package imports these.
ENTRIES = {"__init__", "management", "templatetags"}
# Upwards, inside a function, for a reason.
UPWARDS = {
    ("store", "redis_store"): "the settings choose the store",
    ("store", "memory_store"): "the settings choose the store",
}
# Who knows Celery, and why.
CELERY = {
    "sending": "its signal before a message leaves",
    "lifecycle": "its signals while a task lives",
    "worker_main": "what its worker runs now",
    "pool": "whether its pool can end a running task",
    "revoking": "its way to have a running task ended",
    "result_backend": "how a task ended that nobody heard of",
    "hooks": "what it has no signal for",
    "tasks": "a task of our own, for the doctor",
    "checks": "bodies that it would not run",
    "security_checks": "what it unpacks",
    "runnable": "the tasks that staff may start",
    "management/links": "the doctor looks for a worker",
    "management/commands/run_task": "it sends a task",
}

MODULES = {
    str(path.relative_to(PACKAGE).with_suffix("")): path
    for path in PACKAGE.rglob("*.py")
    if path.stem != "__init__" and "migrations" not in path.parts
}


def imported(path: Path) -> Iterator[str]:
    """Absolute names of everything that a module imports, inside functions too."""
    package = ["progress", *path.relative_to(PACKAGE).parent.parts]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            # "from . import conf" names a module, "from .conf import conf" one of its attributes.
            yield from (f"{module}.{alias.name}" for alias in node.names) if module == "progress" else [module]


def ours(path: Path) -> set[str]:
    """Modules of the package that a module imports, by their first name."""
    names = {name.split(".")[1] for name in imported(path) if name.startswith("progress.")}
    return {name for name in names if (PACKAGE / f"{name}.py").exists() or (PACKAGE / name).is_dir()}


def test_every_module_has_its_layer() -> None:
    """The list above names each module once, and no other."""
    named = [name for layer in LAYERS for name in layer]
    assert sorted(named) == sorted(name for name in MODULES if "/" not in name)


@pytest.mark.parametrize("height", range(len(LAYERS)), ids=lambda height: "+".join(sorted(LAYERS[height])))
def test_lower_layers_never_import_higher_ones(height: int) -> None:
    """What a module may import: the layers below its own."""
    below = set().union(*LAYERS[:height])
    for name in LAYERS[height]:
        wrong = {other for other in ours(MODULES[name]) - below if (name, other) not in UPWARDS}
        if name in ("admin", "apps"):  # Django calls these; they join the loose ends of their own layer and below
            wrong -= {"checks", "forms", "hooks", "lifecycle", "models"}
        assert not wrong, f"progress/{name}.py may import {sorted(below)}, not {sorted(wrong)}"


def test_the_exceptions_to_the_rule_are_still_needed() -> None:
    """An import upwards that no longer exists is taken off the list."""
    assert all(other in ours(MODULES[name]) for name, other in UPWARDS)


def test_the_reusable_app_knows_no_site() -> None:
    """`progress` imports neither `tasks` nor `project`."""
    for name, path in MODULES.items():
        tops = {module.split(".")[0] for module in imported(path)}
        assert not tops & {"tasks", "project", "tests"}, f"progress/{name}.py"


def test_celery_is_known_in_few_places() -> None:
    """Each module that imports Celery is listed with its reason, and no other does."""
    found = {name for name, path in MODULES.items() if any(m.split(".")[0] == "celery" for m in imported(path))}
    assert found == set(CELERY)


def test_the_border_to_async_is_crossed_in_one_file() -> None:
    """`async_to_sync` is written in publisher.py only, `sync_to_async` nowhere."""
    for name, path in MODULES.items():
        names = {node.id for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Name)}
        assert ("async_to_sync" in names) == (name == "publisher"), f"progress/{name}.py"
        assert "sync_to_async" not in names, f"progress/{name}.py"


@pytest.mark.parametrize("name", ["snapshot", "stages", "record", "rules", "workflow", "messages", "pacing"])
def test_what_is_called_pure_does_no_input_or_output(name: str) -> None:
    """These decide; sockets, files, threads and Redis are other people's."""
    tops = {module.split(".")[0] for module in imported(MODULES[name])}
    assert not tops & {"redis", "socket", "threading", "asyncio", "channels", "django", "subprocess", "os"}


def test_importing_progress_starts_nothing() -> None:
    """A guest: after `django.setup()` there is no thread, connection, signal handler or log handler of ours."""
    script = """
import logging, signal, threading
before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
import django
django.setup()
import progress, progress.consumers, progress.views, progress.routing
assert threading.active_count() == 1, threading.enumerate()
assert before == {number: signal.getsignal(number) for number in before}
assert not logging.getLogger("progress").handlers
from progress import publisher, store
assert not store._stores
print("nothing")
"""
    env = {"DJANGO_SETTINGS_MODULE": "tests.settings", "PATH": ""}
    done = subprocess.run(
        [sys.executable, "-c", script], env=env, cwd=PACKAGE.parent, capture_output=True, text=True, check=False
    )
    assert (done.stdout.strip(), done.stderr) == ("nothing", "")
