"""What a worker's main process signs for."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from progress import worker_main
from progress.leases import Held
from progress.sending import EXEC


def signed_for(monkeypatch: pytest.MonkeyPatch, name: str) -> list[Held]:
    """What it signs for while a task of that name runs."""
    request = SimpleNamespace(id="t", task=SimpleNamespace(name=name, run=None), request_dict={EXEC: "e"})
    monkeypatch.setattr(worker_main.state, "active_requests", [request])
    return list(worker_main._active())


def test_what_is_not_tracked_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Celery's own tasks never are."""
    assert signed_for(monkeypatch, "celery.backend_cleanup") == []
    assert signed_for(monkeypatch, "tests.jobs.any") == [Held("t", "e")]


@pytest.mark.parametrize("options", [{"tests.wrong": {"no such option": 1}}, "no mapping at all"])
def test_a_task_whose_options_cannot_be_read_is_signed_for(
    monkeypatch: pytest.MonkeyPatch, settings: Any, options: Any
) -> None:
    """A sign too many costs little; one that is missing tells of a loss."""
    settings.PROGRESS_TASKS = options
    assert signed_for(monkeypatch, "tests.wrong") == [Held("t", "e")]
