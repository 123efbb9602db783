"""The public names, and nothing but them."""

from __future__ import annotations

import inspect

import pytest

import progress
from progress import exceptions
from progress.exceptions import ProgressError, TaskCancelled

DOCUMENTED = {
    "advance",
    "group_name",
    "key",
    "log",
    "options",
    "owner",
    "reporter",
    "reset",
    "revoke_token",
    "revoke_tokens",
    "stage",
    "stages",
    "track",
    "update",
    "watch_token",
    "HIDDEN",
    "Reporter",
    "State",
    "StoredFile",
    "InvalidReport",
    "InvalidToken",
    "ProgressError",
    "StoreUnavailable",
    "TaskCancelled",
}


def test_the_public_names_are_a_list() -> None:
    """`__all__` is what users rely on: sorted, complete, nothing twice."""
    assert set(progress.__all__) == DOCUMENTED
    assert progress.__all__ == sorted(progress.__all__, key=lambda name: (name[0].islower(), name))
    assert len(progress.__all__) == len(DOCUMENTED)


@pytest.mark.parametrize("name", sorted(DOCUMENTED))
def test_every_public_name_exists_and_says_what_it_promises(name: str) -> None:
    """Each can be imported and has a docstring; functions are fully annotated."""
    found = getattr(progress, name)
    assert inspect.getdoc(found)
    if inspect.isfunction(found):
        signature = inspect.signature(found)
        assert signature.return_annotation is not inspect.Signature.empty
        assert all(each.annotation is not each.empty for each in signature.parameters.values())


ERRORS = [each for each in vars(exceptions).values() if inspect.isclass(each) and issubclass(each, ProgressError)]


@pytest.mark.parametrize("error", ERRORS)
def test_an_error_says_what_to_do(error: type[ProgressError]) -> None:
    """There is one base, and without a message an error's docstring is its message."""
    assert str(error()) == inspect.getdoc(error)
    assert str(error("Something else.")) == "Something else."


def test_a_wish_to_cancel_passes_through_except_exception() -> None:
    """`except Exception:` in a loop over rows does not swallow it."""
    assert issubclass(TaskCancelled, BaseException)
    assert not issubclass(TaskCancelled, Exception)
