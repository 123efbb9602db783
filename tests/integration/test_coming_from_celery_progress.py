"""The page on coming from celery-progress, step by step, on a real worker."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import celery_progress
import pytest
from celery import current_app
from celery.result import AsyncResult
from celery_progress.backend import Progress

import progress
from tests.processes import Login, Site, in_this_process
from tests.unit.test_docs import ROOT, names, read, rows, section
from tests.wire import wire

PAGE = "docs/coming-from-celery-progress.md"
ROWS = 300


def tasks() -> dict[str, str]:
    """The page's tasks, by the step they belong to: each a module of its own."""
    old, quiet, ours = re.findall(r"```python\n(# shop/tasks.py\n.*?)```", read(PAGE), re.DOTALL)
    (diff,) = re.findall(r"```diff\n-(.*)\n\+(.*)\n```", read(PAGE))
    return {"before": old, "changed": old.replace(*diff), "quiet": quiet, "ours": ours}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A site with each of these modules."""
    folder = tmp_path_factory.mktemp("shop")
    for name, text in tasks().items():
        (folder / f"shop_{name}.py").write_text(text)
    modules = ",".join(f"shop_{name}" for name in tasks())
    own = Site(folder / "site", env={"PYTHONPATH": str(folder)}, worker_args=["--include", modules])
    try:
        yield own.start()
    finally:
        own.stop()


@pytest.fixture(scope="module")
def owner(shop: Site) -> Login:
    return shop.user()


async def import_file(shop: Site, owner: Login, step: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Run the step's task and watch it; the last snapshot, and what their view says then."""
    with progress.owner(str(owner.pk)):
        task_id = current_app.send_task(f"shop_{step}.import_file", [ROWS]).id
    async with wire(shop.ws, cookie=owner.cookie) as page:
        await page.watch(task_id)
        end = await page.sees(task_id, seconds=20, final=True)
    return end, Progress(AsyncResult(task_id)).get_info()


def test_one_line_changes() -> None:
    """The diff is about one line of the task above it, and about nothing but the import."""
    texts = tasks()
    before, changed = (texts[step].splitlines() for step in ("before", "changed"))
    (pair,) = [(old, new) for old, new in zip(before, changed, strict=True) if old != new]
    assert all("import ProgressRecorder" in line for line in pair)


@pytest.mark.parametrize("step", tasks())
async def test_the_task_of_each_step_is_watched_to_its_end(
    shop: Site, owner: Login, settings: Any, step: str
) -> None:
    """Before the change, after it and in our words: the same end on our socket, and the same in their view."""
    with in_this_process(settings, shop.redis.url, shop.prefix):
        end, theirs = await import_file(shop, owner, step)
    assert (end["state"], end["current"], end["total"]) == ("SUCCESS", ROWS, ROWS)
    assert end["message"] == f"Row {ROWS}"
    assert theirs == {
        "state": "SUCCESS",
        "complete": True,
        "success": True,
        "progress": {"pending": False, "current": 100, "total": 100, "percent": 100},
        "result": ROWS,
    }


def test_what_the_table_names_exists() -> None:
    """Properties, events and options on the right-hand side are there, and so are those of theirs on the left."""
    look = "".join(path.read_text() for path in (ROOT / "progress/static/progress").glob("*.js"))
    theirs = (Path(celery_progress.__file__).parent / "static/celery_progress/celery_progress.js").read_text()
    for cells in rows(section(PAGE, "What is called how")):
        for name in names(cells[0]):
            if re.fullmatch(r"on[A-Z]\w+|\w+(?:Interval|Colors|Messages)", name):
                assert name in theirs, name
        for name in names(cells[1]):
            if name.startswith("task-progress:"):
                kind = name.removeprefix("task-progress:")
                assert f'"{kind}"' in look, name
            elif name.startswith("--"):
                assert f"var({name}" in look, name
