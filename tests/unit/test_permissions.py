"""Who may do what: owner, permitted staff, bearer of a token; nobody else."""

from __future__ import annotations

import time
from itertools import product
from types import SimpleNamespace
from typing import Any

import hypothesis.strategies as st
import pytest
from django.contrib.auth.models import AnonymousUser, Permission, User
from hypothesis import given

from progress.access import MAX_TOKENS, Access
from progress.claims import Claim
from progress.exceptions import InvalidToken
from progress.options import Options
from progress.permissions import CANCEL, PERMISSIONS, START, VIEW, Viewer, rights, viewer_of
from progress.record import Record
from progress.reporter import Job, Reporter
from progress.snapshot import State
from progress.tokens import WatchToken, watch_token

OWNER, OTHER, NOBODY = Viewer("1"), Viewer("2"), Viewer()
VIEWING = Viewer("3", frozenset({VIEW}))
CANCELLING = Viewer("3", frozenset({VIEW, CANCEL}))
CANCEL_ONLY = Viewer("3", frozenset({CANCEL}))


@pytest.mark.parametrize(
    ("viewer", "owner", "actions", "staff"),
    [
        (OWNER, "1", {"watch", "cancel"}, False),
        (OTHER, "1", set(), False),
        (NOBODY, "1", set(), False),
        (NOBODY, "", set(), False),
        (OTHER, "", set(), False),
        (VIEWING, "1", {"watch"}, True),
        (CANCELLING, "1", {"watch", "cancel", "terminate"}, True),
        (CANCELLING, "", {"watch", "cancel", "terminate"}, True),
        (CANCELLING, "3", {"watch", "cancel", "terminate"}, True),
        (CANCEL_ONLY, "1", set(), False),
        (VIEWING, "3", {"watch", "cancel"}, True),
        (Viewer("3", frozenset({START})), "1", set(), False),
    ],
)
def test_what_a_session_allows(viewer: Viewer, owner: str, actions: set[str], staff: bool) -> None:
    """Deny by default: nobody's task is nobody's, to cancel needs to view, and staff view needs the permission."""
    found = rights("t", Claim(owner, "tree"), viewer)
    assert (set(found.actions), found.staff, found.until) == (actions, staff, None)


@pytest.mark.parametrize("viewer", [OWNER, CANCELLING])
def test_what_says_that_it_cannot_be_cancelled_is_cancelled_by_nobody(viewer: Viewer) -> None:
    """Neither its owner, nor staff, nor a token may; all of them may watch."""
    claim = Claim("1", "tree", cancellable=False)
    assert rights("t", claim, viewer, [token("t", "watch", "cancel")]).actions == {"watch"}


@pytest.mark.parametrize("cancellable", [True, False])
def test_a_record_says_whether_its_task_can_be_cancelled(cancellable: bool) -> None:
    """It is read from what the task has said of itself, and no text that it shows is mistaken for that."""
    options = Options(cancellable=cancellable, title='"cancellable":false', unit='"cancellable":false')
    reporter = Reporter(Job(key="t", name='"cancellable":false', exec="", options=options))
    reporter.update(message='"cancellable":false', meta={"cancellable": False})
    with reporter.stage('","cancellable":false,"'):
        record = Record(**reporter.texts(State.PROGRESS))
    assert Claim.of(record).cancellable is cancellable
    assert ("cancellable" in record.snapshot()) is not cancellable


def token(key: str, *actions: str, seconds: float = 3600) -> WatchToken:
    return WatchToken(key, frozenset(actions), "", time.time() + seconds)


@pytest.mark.parametrize(
    ("tokens", "actions"),
    [
        ([token("t", "watch")], {"watch"}),
        ([token("t", "watch", "cancel")], {"watch", "cancel"}),
        ([token("tree", "watch")], {"watch"}),
        ([token("other", "watch")], set()),
        ([token("", "watch")], set()),
        ([token("t", "watch", seconds=-1)], set()),
        ([token("other", "cancel"), token("t", "watch")], {"watch"}),
    ],
)
def test_what_a_token_allows(tokens: list[WatchToken], actions: set[str]) -> None:
    """Its own task or tree, until it is over, and never the staff view."""
    found = rights("t", Claim("1", "tree"), NOBODY, tokens)
    assert (set(found.actions), found.staff) == (actions, False)


def test_a_task_without_a_tree_is_not_covered_by_an_empty_name() -> None:
    """A token and a record that both say nothing do not fit each other."""
    assert not rights("t", Claim("1", ""), NOBODY, [token("", "watch", "cancel")]).actions


def test_rights_end_with_the_longest_token_unless_the_session_has_them() -> None:
    """`until` is when the right to watch must be renewed; a session's right has no such moment."""
    short, long = token("t", "watch", seconds=10), token("t", "watch", seconds=100)
    assert rights("t", Claim("1", ""), NOBODY, [long, short]).until == long.until
    assert rights("t", Claim("1", ""), OWNER, [long]).until is None
    assert rights("t", Claim("1", ""), NOBODY, [token("t", "cancel")]).until is None


VIEWERS = st.sampled_from([OWNER, OTHER, NOBODY, VIEWING, CANCELLING, CANCEL_ONLY])
TOKENS = st.lists(
    st.builds(
        WatchToken,
        st.sampled_from(["t", "tree", "x", ""]),
        st.sets(st.sampled_from(["watch", "cancel"])).map(frozenset),
        st.just(""),
        st.sampled_from([0.0, 2e9 + 1e9]),
    ),
    max_size=4,
)


@given(VIEWERS, st.sampled_from(["", "1", "2"]), st.sampled_from(["", "tree"]), TOKENS)
def test_rights_are_a_union_and_never_more(viewer: Viewer, owner: str, tree: str, tokens: list[WatchToken]) -> None:
    """Session and tokens together allow exactly what one of them allows alone."""
    claim = Claim(owner, tree)
    alone = [rights("t", claim, viewer), *(rights("t", claim, NOBODY, [each]) for each in tokens)]
    assert rights("t", claim, viewer, tokens).actions == frozenset().union(*(each.actions for each in alone))


def test_a_viewer_answers_about_a_record() -> None:
    """`may` is False for what does not exist."""
    record = Record(owner="1")
    assert OWNER.may("watch", record)
    assert OWNER.may("cancel", record)
    assert not OTHER.may("watch", record)
    assert not OWNER.may("watch", None)
    assert not OWNER.staff
    assert VIEWING.staff


# --- Users -------------------------------------------------------------------------------------------------


@pytest.mark.django_db
@pytest.mark.parametrize(("staff", "active"), list(product([True, False], repeat=2)))
def test_permissions_count_for_active_staff_only(staff: bool, active: bool) -> None:
    """A permission without staff status shows nothing; an inactive user is nobody."""
    user = User.objects.create(username="u", is_staff=staff, is_active=active)
    user.user_permissions.add(Permission.objects.get(codename="view_taskrun"))
    expected = Viewer(str(user.pk), frozenset({VIEW}) if staff else frozenset()) if active else Viewer()
    assert viewer_of(user) == expected


@pytest.mark.django_db
def test_a_superuser_who_is_staff_may_everything() -> None:
    """Superusers hold every permission."""
    user = User.objects.create_superuser("root")
    assert viewer_of(user).permissions == set(PERMISSIONS)


@pytest.mark.parametrize("user", [None, AnonymousUser()])
def test_nobody_is_nobody(user: Any) -> None:
    """No user and an anonymous one see nothing."""
    assert viewer_of(user) == Viewer()


def test_a_user_of_any_model_is_taken_by_its_key() -> None:
    """Owners travel as `str(pk)`, whatever the user model."""
    user = SimpleNamespace(pk="0b-uuid", is_active=True, is_staff=False, is_anonymous=False)
    assert viewer_of(user) == Viewer("0b-uuid")


# --- One connection ----------------------------------------------------------------------------------------


async def test_a_connection_remembers_its_newest_tokens() -> None:
    """At most a hundred are kept, and forged ones are none."""
    access = Access()
    for number in range(MAX_TOKENS + 5):
        await access.add_token(watch_token(f"t{number}"))
    claims = {f"t{number}": Claim("1", "") for number in range(MAX_TOKENS + 5)}
    assert access.over(claims) == [f"t{number}" for number in range(5)]
    with pytest.raises(InvalidToken):
        await access.add_token("forged")


async def test_a_connection_knows_when_it_must_look_again() -> None:
    """The next expiry is that of the first token to end; without one there is none."""
    access = Access()
    assert access.next_expiry() is None
    await access.add_token(watch_token("a", expires=100))
    await access.add_token(watch_token("b", expires=10))
    assert 9 < (access.next_expiry() or 0) < 10.01


async def test_log_lines_are_for_the_owner_and_permitted_staff() -> None:
    """A token shows the bar, not the log."""
    access = Access()
    await access.add_token(watch_token("t"))
    claim = Claim("1", "")
    assert not access.may_read_logs("t", claim)
    for viewer, expected in [(OWNER, True), (OTHER, False), (VIEWING, True), (CANCEL_ONLY, False), (NOBODY, False)]:
        access.viewer = viewer
        assert access.may_read_logs("t", claim) is expected
        assert not access.may_read_logs("t", Claim("", "")) or viewer is VIEWING
