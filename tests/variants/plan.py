"""Which surroundings there are, and which of them are tried."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Final

PYTHONS: Final = ("3.11", "3.12", "3.13")
DJANGOS: Final = ("5.2", "6")
REDISES: Final = ("6", "7", "8")  # of redis-py
POOLS: Final = ("prefork", "threads", "solo", "gevent")
LAYERS: Final = ("pubsub", "core")
SERVERS: Final = ("daphne", "uvicorn")


@dataclass(frozen=True, order=True)
class Environment:
    """One set of installed packages. `lowest`: of everything the lowest version that pyproject.toml allows."""

    python: str
    django: str
    redis: str
    lowest: bool = False

    @property
    def name(self) -> str:
        """What it is called, also as a folder."""
        return f"py{self.python}-django{self.django}-redis{self.redis}" + ("-lowest" if self.lowest else "")


@dataclass(frozen=True, order=True)
class Variant:
    """One way to run the site."""

    environment: Environment
    pool: str
    layer: str
    server: str

    @property
    def name(self) -> str:
        """What it is called."""
        return " ".join((self.environment.name, self.pool, self.layer, self.server))


LOWEST: Final = Environment("3.11", "5.2", "6", lowest=True)


def whole() -> list[Variant]:
    """Everything with everything."""
    ways = list(product(POOLS, LAYERS, SERVERS))
    return [Variant(environment, *way) for environment in environments() for way in ways]


def environments() -> Iterator[Environment]:
    """The lowest of everything, then the newest of each line with each other."""
    yield LOWEST
    for python, django, redis in product(PYTHONS, DJANGOS, REDISES):
        if django != "6" or python != "3.11":  # Django 6 needs Python 3.12
            yield Environment(python, django, redis)


def pairwise() -> list[Variant]:
    """Each value at least once, in three environments; in each of them every pair of pool, layer and server.

    So every pair of one of these three with a Python, a Django or a redis-py is there, too. Pairs of those among
    themselves are left to the whole product.
    """
    chosen = (LOWEST, Environment("3.12", "5.2", "7"), Environment("3.13", "6", "8"))
    return [
        Variant(environment, pool, layer, SERVERS[(nth + POOLS.index(pool) + LAYERS.index(layer)) % 2])
        for nth, environment in enumerate(chosen)
        for pool, layer in product(POOLS, LAYERS)
    ]
