"""A task whose body ends its process, or tries to: what becomes of that in each pool is shown as a failure.

Real: Redis and one worker of each pool, side by side.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests import jobs
from tests.processes import Site, Worker, in_this_process, wait_until
from tests.watching import History, end_of, send

POOLS = ("prefork", "threads", "solo", "gevent")


@pytest.fixture(scope="module")
def running_workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Site, dict[str, Worker]]]:
    own = Site(tmp_path_factory.mktemp("failures-exits") / "site")
    workers = {
        pool: Worker(own.folder, own.env, name=pool, pool=pool, concurrency=2, args=["--queues", pool])
        for pool in POOLS
    }
    try:
        own.redis.start()
        for worker in workers.values():
            worker.start(wait=False)
        for worker in workers.values():
            worker.wait_ready()
        yield own, workers
    finally:
        for worker in workers.values():
            worker.kill()
        own.stop()


@pytest.fixture
def workers(running_workers: tuple[Site, dict[str, Worker]], settings: Any) -> Iterator[dict[str, Worker]]:
    """A worker of each pool, which serves the queue of the pool's name."""
    site, workers = running_workers
    with in_this_process(settings, site.redis.url, site.prefix):
        yield workers


@pytest.mark.parametrize("pool", POOLS)
def test_a_body_that_leaves_its_process_has_failed(
    workers: dict[str, Worker], running_workers: tuple[Site, dict[str, Worker]], pool: str
) -> None:
    """Celery's last signal says nothing then. A child is gone, and a solo worker leaves. In the other pools the
    worker goes on, and must not go on to renew a task that has ended.
    """
    site, _ = running_workers
    with History(site.redis) as history:
        task_id = send(jobs.leaves, options={"queue": pool})
        assert end_of(task_id).state == "FAILURE"
        if pool == "solo":
            wait_until(lambda: not workers[pool].alive, 15, "the solo worker has left")
        else:
            assert end_of(send(jobs.quick, options={"queue": pool})).state == "SUCCESS"
        assert history.ends(task_id) == ["FAILURE"]


@pytest.mark.parametrize("pool", [pool for pool in POOLS if pool != "solo"])
def test_later_steps_of_a_body_that_leaves_end_too(workers: dict[str, Worker], pool: str) -> None:
    """Nobody will send them."""
    steps = (jobs.leaves.si() | jobs.quick.si()).apply_async(queue=pool)
    assert [end_of(str(step.id)).state for step in (steps.parent, steps)] == ["FAILURE", "FAILURE"]
