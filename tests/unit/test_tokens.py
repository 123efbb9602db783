"""Watch tokens: signed, scoped, expiring."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest
from django.core import signing

import progress
from progress.exceptions import InvalidToken, ProgressError
from progress.tokens import SALT, read_token, watch_token


def test_a_token_says_what_was_put_in() -> None:
    """Task, actions, user and end come back as they were given."""
    before = time.time()
    token = read_token(watch_token("t", user=SimpleNamespace(pk=7), expires=60, actions=("watch", "cancel")))
    assert (token.key, token.actions, token.user) == ("t", {"watch", "cancel"}, "7")
    assert 59 < token.expires - before < 61
    assert token.until.endswith("Z")
    assert len(token.until) == len("2026-11-20T13:30:20.120Z")


def test_by_default_a_token_lets_watch_for_an_hour() -> None:
    """Nothing but watching, for nobody in particular."""
    token = read_token(progress.watch_token("t"))
    assert (token.actions, token.user) == ({"watch"}, "")
    assert 3590 < token.expires - time.time() < 3600.01


@pytest.mark.parametrize("task_id", ["report 7/é", "x" * 10_000, "\ud800"])
def test_any_id_can_be_named(task_id: str) -> None:
    """A token names the task's key, so that every id fits and none travels in the clear unchecked."""
    assert read_token(watch_token(task_id)).key == progress.key(task_id)


def test_a_token_fits_into_a_header_and_a_url_free_message() -> None:
    """ASCII without spaces, of moderate length."""
    token = watch_token("x" * 200, user=SimpleNamespace(pk="u" * 36), actions=("watch", "cancel"))
    assert token.isascii()
    assert not set(token) & set(' ",;\\')
    assert len(token) < 600


def tampered() -> list[Any]:
    good = watch_token("t")
    body, stamp, signature = good.rpartition(":")
    return [
        "",
        "nonsense",
        ":",
        "::",
        good[:-1],
        "A" + good[1:],
        body + stamp + signature[::-1],
        "é" + good,
        "\ud800",
        "\x00",
        good * 100,
        signing.dumps(["t", ["watch"], "", time.time() + 60], salt="another salt"),
        signing.dumps(["t", ["watch"], "", time.time() + 60], salt=SALT, key="another key"),
        signing.dumps(["t", ["watch"]], salt=SALT),
        signing.dumps("t", salt=SALT),
        signing.dumps(None, salt=SALT),
        signing.dumps({"t": 1, "a": 2, "b": 3, "c": 4}, salt=SALT),
        signing.dumps(["t", 5, "", 0], salt=SALT),
        signing.dumps(["t", ["watch"], "", "soon"], salt=SALT),
        signing.dumps(["t", ["watch"], "", time.time() - 1], salt=SALT),
    ]


@pytest.mark.parametrize("number", range(20))
def test_what_was_not_issued_here_or_is_over_is_no_token(number: int) -> None:
    """Forged, damaged, foreign, expired: always `InvalidToken`, never anything else."""
    with pytest.raises(InvalidToken):
        read_token(tampered()[number])


def test_a_token_ends() -> None:
    """A token of a moment is valid in it and not after it."""
    text = watch_token("t", expires=0.05)
    token = read_token(text)
    assert not token.expired
    while not token.expired:
        time.sleep(0.01)
    with pytest.raises(InvalidToken):
        read_token(text)


def test_a_new_secret_ends_all_tokens_unless_the_old_one_is_kept(settings: Any) -> None:
    """Tokens follow SECRET_KEY and its fallbacks, as sessions do."""
    text, old = watch_token("t"), settings.SECRET_KEY
    settings.SECRET_KEY = "new" * 20
    with pytest.raises(InvalidToken):
        read_token(text)
    settings.SECRET_KEY_FALLBACKS = [old]
    assert read_token(text).key == "t"


def test_an_action_that_does_not_exist_is_refused() -> None:
    """The error names those that do."""
    with pytest.raises(ProgressError, match="actions may be cancel, watch; got start"):
        watch_token("t", actions=("watch", "start"))


@pytest.mark.parametrize("expires", [0, -1])
def test_a_token_that_is_over_at_once_is_refused(expires: float) -> None:
    """A lifetime is more than 0 seconds."""
    with pytest.raises(ProgressError, match="expires must be seconds from now, more than 0"):
        watch_token("t", expires=expires)
