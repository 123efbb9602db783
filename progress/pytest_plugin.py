"""Fixtures for pytest. A site asks for them in its topmost ``conftest.py``::

    pytest_plugins = ["progress.pytest_plugin"]

Nothing is registered by itself, and loading this module changes nothing for tests that use none of the fixtures.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .memory_store import MemoryStore
    from .testing import Told


@pytest.fixture
def progress_store() -> Iterator[MemoryStore]:
    """An empty store of this test's own. Neither Redis nor a thread is used until the test ends."""
    from .testing import in_memory  # loads Channels, which wants the site's settings

    with in_memory() as store:
        yield store


@pytest.fixture
def progress_told(progress_store: MemoryStore) -> Iterator[Told]:
    """Everything that tasks report during this test."""
    from .testing import collect

    with collect() as told:
        yield told
