"""What docs/browser.md says that a page does when something goes wrong is shown by tests that exist."""

from __future__ import annotations

import pytest

from .test_docs import ROOT, rows, section
from .test_docs_failures import NAMED, names_in

TABLE = rows(section("docs/browser.md", "What can go wrong, and the test that shows it"))


def test_every_row_names_a_test() -> None:
    """Nothing is claimed that nobody tries."""
    assert len(TABLE) >= 17
    assert [happens for happens, _, shown in TABLE if not NAMED.search(shown)] == []


@pytest.mark.parametrize("name", sorted({named for *_, shown in TABLE for named in NAMED.findall(shown)}))
def test_a_test_that_is_named_exists(name: tuple[str, str]) -> None:
    """A test that was renamed is renamed on the page too."""
    path, test = name
    assert (ROOT / path).is_file(), f"docs/browser.md names {path}, which does not exist"
    assert test in names_in(path), f"docs/browser.md names {test}, which is not in {path}"
