"""Names of groups, and the event in them."""

from __future__ import annotations

import re
from typing import Any

import pytest
from channels.generic.websocket import AsyncWebsocketConsumer
from channels.layers import get_channel_layer

import progress
from progress import groups
from progress.exceptions import ProgressError


@pytest.mark.parametrize("task_id", ["plain", "report 7/é", "x" * 10_000, "\ud800", "~" + "0" * 64])
def test_a_task_has_one_group_whatever_its_id(settings: Any, task_id: str) -> None:
    """`<prefix>.task.<32 hex>`, the same for the id and for its key."""
    settings.PROGRESS_PREFIX = "mine"
    name = progress.group_name(task_id)
    assert re.fullmatch(r"mine\.task\.[0-9a-f]{32}", name)
    assert name == groups.of_key(progress.key(task_id))


def test_sites_in_one_redis_do_not_meet(settings: Any) -> None:
    """The prefix is part of every group; a task, a user and a process of one name have three."""
    names = set()
    for settings.PROGRESS_PREFIX in ("one", "two"):
        names |= {make("same") for make in (groups.of_key, groups.of_owner, groups.of_process)}
    assert len(names) == 6


def test_an_event_is_that_of_the_protocol() -> None:
    """With a snapshot it is whole; without one it says: read the record."""
    assert groups.hint("k", 5) == {"type": "progress.update", "v": 1, "id": "k", "seq": 5}
    whole = groups.hint("k", 5, "{}", '{"worker":"w"}')
    assert whole == {**groups.hint("k", 5), "snapshot": "{}", "staff": '{"worker":"w"}'}


async def test_any_consumer_may_join_the_group() -> None:
    """The event's type names the method that the tutorial's consumer would have: `progress_update`."""
    from channels.consumer import get_handler_name

    assert get_handler_name(groups.hint("k", 5)) == "progress_update"
    assert not hasattr(AsyncWebsocketConsumer, "progress_update")
    layer = get_channel_layer()
    channel = await layer.new_channel()
    await layer.group_add(progress.group_name("k"), channel)
    await layer.group_send(progress.group_name("k"), groups.hint("k", 5, "{}"))
    assert (await layer.receive(channel))["snapshot"] == "{}"


def test_a_layer_that_is_not_configured_is_said_to_be_missing(settings: Any) -> None:
    """The error names the alias and both ways out."""
    settings.PROGRESS_CHANNEL_LAYER = "elsewhere"
    with pytest.raises(ProgressError, match="CHANNEL_LAYERS has no 'elsewhere': configure it, or name another alias"):
        groups.layer()
