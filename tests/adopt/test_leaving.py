"""Taking the app out leaves the site as it was."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.guarded_redis import GuardedRedis
from tests.processes import Redis, wait_until

from .adopting import SITE, adopt, leave, new_site
from .redis_of import records
from .shop import Shop


@pytest.fixture
def leaving(
    python: Path, guarded_redis: GuardedRedis, broker: Redis, tmp_path: Path
) -> Iterator[tuple[Shop, dict[str, str]]]:
    """A shop that had adopted the app, with a task in its queue, and has taken it out again."""
    site = new_site(tmp_path / "site")
    adopt(site)
    shop = Shop("left", site, python, guarded_redis, broker, database=2, env={"SHOP_SCRIPT_NAME": "/shop"}).prepare()
    queued = shop.script('from tasks.tasks import export; print(export.delay("queued", rows=3).id)').strip()
    shop.manage("migrate", "task_progress", "zero")
    leave(site)
    shop.manage("collectstatic", "--no-input", "--clear", "--verbosity", "0")
    try:
        yield shop.start(), {"queued": queued}
    finally:
        shop.stop()


def test_the_site_is_as_it_was(leaving: tuple[Shop, dict[str, str]]) -> None:
    """Files, checks, pages, tasks (one that was queued before, too) and chat; of progress nothing is left to ask."""
    shop, made = leaving
    for name in ("shop/settings.py", "shop/urls.py", "shop/asgi.py", "templates/export.html", "static/live.js"):
        assert (shop.site / name).read_text().strip() == (SITE / name).read_text().strip()
    assert "no issues" in shop.manage("check", "--fail-level", "WARNING")
    assert "No changes" in shop.manage("makemigrations", "--check")
    assert shop.ask("/de/").status == 200
    run = shop.export("ann", rows=3)
    assert shop.ask(f"/en/exports/{run['id']}/").status == 200
    assert shop.ask(f"/progress/{run['id']}/").status == 404
    for task_id in (run["id"], made["queued"]):
        results = f'from celery.result import AsyncResult; print(AsyncResult("{task_id}").state)'
        wait_until(lambda: shop.script(results).strip() == "SUCCESS", 30, f"{task_id} is done")  # noqa: B023
    assert records(shop, [run["id"]]) == [{}]
    with shop.socket("/ws/chat/lobby/") as chat:
        chat.say(text="still here")
        assert chat.hear() == {"text": "still here"}
