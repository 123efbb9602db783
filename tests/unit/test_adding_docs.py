"""The page on adding it to a site: what it shows runs, and is what the shop of `make adopt` is given."""

from __future__ import annotations

import uuid
from typing import Any
from unittest.mock import MagicMock

import pytest
from django.core.checks import run_checks
from rest_framework.test import APIRequestFactory, force_authenticate

import progress
from progress.servers import FlowControl
from progress.store import get_store
from progress.tokens import read_token
from tests.adopt.adopting import adopt, blocks, five_lines, leave, new_site

PAGE = "docs/adding-to-a-site.md"


def block(word: str) -> str:
    """The one Python block of the page with this word."""
    (found,) = [text for text in blocks(PAGE, "python") if word in text]
    return found


def executed(word: str, **given: Any) -> dict[str, Any]:
    """What a block defines."""
    namespace: dict[str, Any] = {"__name__": "examples", **given}
    exec(compile(block(word), PAGE, "exec"), namespace)
    return namespace


def test_every_block_is_tried_below() -> None:
    """A new example on the page needs a test here."""
    words = ("class Exports", "on_commit", '"progress": {', "PROGRESS_PREFIX", "PROGRESS_STORE", "FlowControl")
    assert sorted(map(block, words)) == sorted(blocks(PAGE, "python"))


def test_the_view_gives_a_token_for_its_task_to_its_user() -> None:
    """The answer has id, token and socket address; the token covers that task and no other."""
    run = MagicMock(id=str(uuid.uuid4()))
    export = MagicMock(delay=MagicMock(return_value=run))
    view = executed("class Exports", export=export)["Exports"]
    request = APIRequestFactory().post("/")
    user = MagicMock(pk=uuid.uuid4(), is_anonymous=False)
    force_authenticate(request, user=user)
    answer = view.as_view(permission_classes=[])(request)
    assert (answer.status_code, answer.data["id"], answer.data["socket"]) == (202, run.id, "/ws/progress/")
    token = read_token(answer.data["token"])
    assert (token.key, token.user) == (progress.key(run.id), str(user.pk))


@pytest.mark.django_db(transaction=True)
def test_an_own_id_is_known_before_the_task_is_sent() -> None:
    """The task is sent when the transaction is through, with the id that was told before."""
    from django.db import transaction

    export = MagicMock()
    start = executed("on_commit", export=export)["start_export"]
    with transaction.atomic():
        task_id = start("orders")
        assert not export.apply_async.called
    export.apply_async.assert_called_once_with(args=["orders"], task_id=task_id)


@pytest.mark.parametrize("word", ['"progress": {', "PROGRESS_PREFIX", "PROGRESS_STORE"])
def test_settings_of_the_page_pass_the_checks(settings: Any, word: str) -> None:
    """No check complains of what the page says to set."""
    settings.PROGRESS_STORE = "redis" if word == '"progress": {' else "memory"
    for name, value in executed(word).items():
        if name.isupper():
            setattr(settings, name, value)
    assert run_checks(tags=["progress"]) == []
    if "PROGRESS_STORE" in word:
        assert type(get_store()).__name__ == "MemoryStore"


def test_the_long_form_composes() -> None:
    """Written out, it is an application with the same parts."""
    assert isinstance(executed("FlowControl")["application"], FlowControl)


def test_leaving_undoes_adopting(tmp_path: Any) -> None:
    """The five lines go in and out of a site's files, literally."""
    site = new_site(tmp_path / "site")
    before = {path: path.read_text().strip() for path in site.rglob("*.py")}
    adopt(site)
    text = "".join(path.read_text() for path in site.rglob("*.py"))
    assert all(text.count(line) == 1 for lines in five_lines().values() for line in lines)
    leave(site)
    assert {path: path.read_text().strip() for path in site.rglob("*.py")} == before
