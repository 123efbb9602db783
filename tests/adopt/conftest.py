"""A wheel, an environment with it, and the shop that has adopted it: each made once, all real."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.guarded_redis import GuardedRedis
from tests.processes import Redis

from .adopting import adopt, new_site
from .building import build_wheel, make_environment
from .shop import Shop


def pytest_ignore_collect(config: pytest.Config) -> bool | None:
    """These take minutes and the network: only who names them gets them."""
    return None if any("adopt" in argument for argument in config.args) else True


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="session")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment that has the wheel and the shop's own packages."""
    return make_environment(tmp_path_factory.mktemp("env") / "venv", wheel)


@pytest.fixture(scope="session")
def guarded_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GuardedRedis]:
    """The Redis of the channel layers and records of all environments."""
    server = GuardedRedis(tmp_path_factory.mktemp("guarded"), keep=True).start()
    yield server
    server.kill()


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    """Celery's broker, which is another."""
    server = Redis(tmp_path_factory.mktemp("broker"), name="broker").start()
    yield server
    server.kill()


@pytest.fixture(scope="session")
def adopted_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shop with the README's five lines."""
    site = new_site(tmp_path_factory.mktemp("adopted") / "site")
    adopt(site)
    return site


@pytest.fixture(scope="session")
def shop(adopted_site: Path, python: Path, guarded_redis: GuardedRedis, broker: Redis) -> Iterator[Shop]:
    """The shop, running. Its settings know the script name."""
    running = Shop("shop", adopted_site, python, guarded_redis, broker, database=0, env={"SHOP_SCRIPT_NAME": "/shop"})
    try:
        yield running.prepare().start()
    finally:
        running.stop()


@pytest.fixture(scope="session")
def staging(adopted_site: Path, python: Path, guarded_redis: GuardedRedis, broker: Redis) -> Iterator[Shop]:
    """A second environment in the same Redis: same people, another prefix. Its Daphne knows the script name."""
    running = Shop(
        "staging", adopted_site, python, guarded_redis, broker, database=1, env={"SHOP_PROGRESS_PREFIX": "staging"}
    )
    try:
        yield running.prepare().start()
    finally:
        running.stop()
