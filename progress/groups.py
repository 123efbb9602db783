"""Names of the channel-layer groups, and the events in them. Any Channels consumer may join a task's group."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Protocol

from channels.layers import get_channel_layer

from . import snapshot
from .conf import conf
from .exceptions import ProgressError


def group_name(task_id: str) -> str:
    """The group that carries a task's snapshots, whatever its id looks like."""
    return of_key(snapshot.key(task_id))


def of_key(key: str) -> str:
    """The group of the task with this key."""
    return snapshot.group(conf.PROGRESS_PREFIX, "task", key)


def of_tree(key: str) -> str:
    """The group that tells of changes in the workflow with this key."""
    return snapshot.group(conf.PROGRESS_PREFIX, "tree", key)


def of_owner(owner: str) -> str:
    """The group that tells of new tasks of this user."""
    return snapshot.group(conf.PROGRESS_PREFIX, "user", owner)


def of_process(name: str) -> str:
    """The group through which a worker process is woken."""
    return snapshot.group(conf.PROGRESS_PREFIX, "process", name)


def hint(key: str, seq: int, text: str | None = None, staff: str | None = None) -> dict[str, Any]:
    """The event in a task's group. Without a snapshot it says: read the record."""
    event: dict[str, Any] = {"type": "progress.update", "v": snapshot.VERSION, "id": key, "seq": seq}
    if text is not None:
        event["snapshot"], event["staff"] = text, staff
    return event


class Counted(Protocol):
    """A task's write, as the wholes that it is counted in see it (`store.Answer`)."""

    @property
    def head(self) -> Any: ...
    @property
    def moved(self) -> bool: ...
    @property
    def sender_seq(self) -> int: ...


def of_wholes(answer: Counted) -> Iterator[tuple[str, dict[str, Any]]]:
    """The groups to be told, and what, after a write that changed a task's state: its workflows and its sender.

    Smaller steps are not announced: who watches a workflow looks at it every second anyway.
    """
    if answer.moved:
        for tree in {answer.head.tree, answer.head.group} - {""}:
            yield of_tree(tree), {"type": "progress.tree", "v": snapshot.VERSION, "id": tree}
        if answer.sender_seq:
            yield of_key(answer.head.part_of), hint(answer.head.part_of, answer.sender_seq)


def tree_in(event: Any) -> str | None:
    """The workflow that the event is about; None if it is about none."""
    try:
        tree = event["id"]
        ours = event["type"] == "progress.tree" and isinstance(tree, str)
    except (TypeError, KeyError):
        return None
    return tree if ours else None


def named_in(event: Any) -> tuple[str, int] | None:
    """Which task the event is about and at which `seq`; None if it is no event of ours."""
    try:
        key, seq = event["id"], event["seq"]
        ours = event["type"] == "progress.update" and isinstance(key, str) and isinstance(seq, int)
    except (TypeError, KeyError):
        return None
    return (key, seq) if ours else None


def snapshot_in(text: Any, key: str, seq: int) -> dict[str, Any] | None:
    """The snapshot in `text` if it is one of this task and this moment."""
    try:
        decoded = json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError):
        return None
    if not isinstance(decoded, dict) or decoded.get("id") != key or decoded.get("seq") != seq:
        return None
    return decoded


def layer() -> Any:
    """The channel layer that carries hints. Raises `ProgressError` when none is configured."""
    found = get_channel_layer(conf.PROGRESS_CHANNEL_LAYER)
    if found is None:
        raise ProgressError(
            f"CHANNEL_LAYERS has no {conf.PROGRESS_CHANNEL_LAYER!r}: configure it, or name another alias "
            "in PROGRESS_CHANNEL_LAYER."
        )
    return found
