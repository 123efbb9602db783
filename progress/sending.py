"""What happens when a task is sent: it gets a record before any worker can see it.

So "queued" and "no such task" differ, a fast worker is never first, and the owner is known from the start. The
sender must not suffer: it waits 50 ms at the most, once, and never sees an exception of ours.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from celery import current_app

from . import groups, snapshot
from .arguments import kept
from .conf import conf
from .exceptions import StoreUnavailable
from .options import Options, options_of
from .owners import owner_of_sending
from .publisher import get_publisher
from .record import Status
from .reporter import NOBODY, Job, Reporter, running
from .snapshot import State
from .store import Answer, Write, get_store

logger = logging.getLogger(__name__)

# Message headers of ours. Celery carries custom headers over retries, but not to children.
OWNER: Final = "progress-owner"
TREE: Final = "progress-tree"
PART_OF: Final = "progress-part-of"
WEIGHT: Final = "progress-weight"
EXEC: Final = "progress-exec"
SENT: Final = "progress-sent"

MAX_WEIGHT: Final = 1_000_000


def before_task_publish(
    sender: str,
    body: Any,
    headers: dict[str, Any],
    exchange: Any = "",
    routing_key: Any = "",
    declare: Any = None,
    **_: Any,
) -> None:
    """Celery's signal: `headers` are those of the message and may be changed."""
    function = function_of(sender)
    options = options_of(sender, function)
    if not options.track or not isinstance(headers, dict) or "id" not in headers:
        return
    parent = running.get()
    headers.pop(EXEC, None)  # of the execution that retries; the next one is given its own
    # A retry carries what was decided when the task was first sent.
    if OWNER not in headers:
        inherited = parent.job.owner if parent is not NOBODY else None
        headers[OWNER] = owner_of_sending(sender, headers, inherited)
    args, kwargs, embed = body if isinstance(body, (tuple, list)) and len(body) == 3 else ((), {}, {})
    embed = embed or {}
    group = headers.get("group") or _group_of_chain(embed.get("chain"))
    headers.setdefault(TREE, parent.job.tree or group or headers.get("root_id") or headers["id"])
    again = bool(headers.get("retries") or headers.get("replaced_task_nesting"))
    if not again or SENT not in headers:
        headers[SENT] = os.urandom(8).hex()
    headers.setdefault(PART_OF, _sender_of(snapshot.key(str(headers["id"])), parent))
    title = options.titled(function, args, kwargs, sender)
    job = _job({**headers, "group": group}, sender, options, title)
    try:
        queue = _queue_name(declare, exchange, routing_key)
        told = _told_to_recorder(job, function, args or (), kwargs or {})
        answer = _queue(job, again=again, scheduled_for=snapshot.utc(headers.get("eta")), queue=queue, arguments=told)
        # A step that was declared with its workflow has been counted then, and so have those after it.
        declared = job.tree != job.key and not answer.moved
        if answer.accepted and not declared:
            for step in _declared(embed, job, body_too=not headers.get("group_index")):
                _queue(*step)
    except StoreUnavailable as error:
        logger.debug("Task %s is sent without a record: %s", sender, error)


def _told_to_recorder(job: Job, function: Any, args: Any, kwargs: Any) -> str:
    wanted = job.options.history and job.options.store_arguments and conf.PROGRESS_RECORDER
    try:
        return kept(job.name, function, args, kwargs) if wanted else ""
    except Exception as error:  # noqa: BLE001 (arguments may be objects of any kind, and raise anything)
        logger.debug("The arguments of %s are not kept: %r", job.name, error)
        return ""


def _queue_name(declare: Any, exchange: Any, routing_key: Any) -> str:
    """The queue that a message goes to; "" where the exchange decides, and nobody here knows how."""
    queue = declare[0] if isinstance(declare, (list, tuple)) and declare else None
    name = getattr(queue, "name", None)
    if not name:
        return "" if exchange else snapshot.clip(str(routing_key or ""), snapshot.QUEUE_BYTES)
    own = getattr(queue, "exchange", None)
    by_name = not exchange and routing_key in (None, "", name)
    by_key = exchange == getattr(own, "name", own) and routing_key in (name, getattr(queue, "routing_key", name))
    return snapshot.clip(str(name), snapshot.QUEUE_BYTES) if by_name or by_key else ""


def _group_of_chain(chain: Sequence[Any] | None) -> str | None:
    """The group that a chain is a part of. Celery names it at the chain's last step, which comes first here."""
    last = chain[0] if chain else None
    return last.get("options", {}).get("group_id") if isinstance(last, Mapping) else None


def _sender_of(key: str, parent: Reporter) -> str:
    """The task whose body sends the task `key`; "" = none.

    Outside of its body Celery sends what comes *after* a task: the next step of its chain, the body of its chord.
    That hangs where the task itself hangs, and so does what replaces it.
    """
    inside = parent.in_body and parent.job.key != key
    return parent.job.key if inside else parent.job.part_of


def _queue(
    job: Job,
    waits: str = "",
    again: bool = False,
    scheduled_for: str | None = None,
    queue: str = "",
    arguments: str = "",
) -> Answer:
    waiting = Reporter(job)
    waiting.scheduled_for = scheduled_for
    args = {**job.lineage, "sent": job.sent, "queue": queue, **waiting.texts(State.PENDING)}
    if waits:
        args["waits"] = waits
    if again:
        args["again"] = "1"
    if arguments:
        args["arguments"] = arguments
    answer = get_store().write(Write("queue", job.key, args))
    if answer.status is Status.ACCEPTED:
        publisher = get_publisher()
        if answer.heard:
            publisher.announce(groups.of_key(job.key), groups.hint(job.key, answer.head.seq))
        for told in groups.of_wholes(answer):
            publisher.announce(*told)
        if answer.head.owner:
            publisher.announce(groups.of_owner(answer.head.owner), groups.hint(job.key, answer.head.seq))
    return answer


def _declared(embed: Mapping[str, Any], job: Job, *, body_too: bool) -> Iterator[tuple[Job, str]]:
    """Later steps that this message carries, each with the key it waits for.

    The id that ``chain(…).delay()`` returns is that of the last step, which is published only when its turn
    comes; without this it would be unknown until then. Every part of a group carries the body of the chord; only
    the first declares it (`body_too`), or a body that has failed with one part would wait again with the next.
    """
    chord = embed.get("chord") if body_too else None
    for step, before in steps_of(embed.get("chain"), chord, job.key, every_body=False):
        name, task_id = step["task"], step["options"]["task_id"]
        function = function_of(name)
        options = options_of(name, function)
        if options.track:
            title = options.titled(function, step.get("args") or (), step.get("kwargs") or {}, name)
            declared = Job(
                key=snapshot.key(task_id),
                name=name,
                exec="",
                options=options,
                title=title,
                owner=job.owner,
                tree=job.tree,
                group=job.group,
                part_of=job.part_of,
                weight=weight_of(step["options"].get("headers") or {}, options),
                parent=job.key,
                root=job.root,
            )
            yield declared, before


def steps_of(
    chain: Sequence[Any] | None, chord: Any, before: str, *, every_body: bool = True
) -> list[tuple[Mapping[str, Any], str]]:
    """The steps after the task with the key `before`: the rest of its chain, then its chord's body.

    Each with the key that it waits for. The parts of a group are none of them: they are sent together, when it
    is their turn; the body of their chord is one, of the first part only unless it is to be found with `every_body`.
    """
    found: list[tuple[Mapping[str, Any], str]] = []
    for step in [*reversed(chain or []), *([chord] if chord else [])]:
        before = _walk(step, before, found, every_body)
    return found


def _walk(step: Any, before: str, found: list[tuple[Mapping[str, Any], str]], every_body: bool) -> str:
    """Append what `step` consists of; the answer is the key for which the next one waits."""
    if not isinstance(step, Mapping):
        return before
    arguments, options = step.get("kwargs") or {}, step.get("options") or {}
    if step["task"] == "celery.chain":
        for inner in arguments.get("tasks") or ():
            before = _walk(inner, before, found, every_body)
    elif step["task"] == "celery.chord":
        before = _walk(arguments.get("body"), before, found, every_body)
    elif options.get("task_id"):
        found.append((step, before))
        # The last step of a chain that is itself a part of a chord carries the chord's body.
        body = options.get("chord") if every_body or not options.get("group_index") else None
        before = _walk(body, snapshot.key(options["task_id"]), found, every_body)
    return before


def _job(headers: Mapping[str, Any], name: str, options: Options, title: str) -> Job:
    return Job(
        key=snapshot.key(str(headers["id"])),
        name=name,
        exec="",
        options=options,
        title=title,
        **lineage_of(headers, str(headers["id"]), options),
        sent=str(headers.get(SENT) or ""),
        parent=key_or_none(headers.get("parent_id")),
        root=key_or_none(headers.get("root_id")),
        retries=int(headers.get("retries") or 0),
    )


def lineage_of(headers: Any, task_id: str, options: Options) -> dict[str, Any]:
    """What a message says about whose the task is and what it is counted in: fields of `Job`."""
    tree = snapshot.key(str(headers.get(TREE) or headers.get("root_id") or task_id))
    group = key_or_none(headers.get("group")) or ""
    return {
        "owner": str(headers.get(OWNER) or ""),
        "tree": tree,
        "group": "" if group == tree else group,
        "part_of": str(headers.get(PART_OF) or ""),
        "weight": weight_of(headers, options),
    }


def weight_of(headers: Any, options: Options) -> float:
    """How much the task counts among its siblings: what its message says, or its options."""
    try:
        given = float(headers.get(WEIGHT) or 0)
    except (TypeError, ValueError):
        given = 0
    return given if 0 < given <= MAX_WEIGHT else options.weight


def key_or_none(task_id: Any) -> str | None:
    """The key of a task that another one names, if it names one."""
    return snapshot.key(str(task_id)) if task_id else None


def function_of(name: str) -> Any:
    """The body of the task `name`, if this process knows it."""
    task = current_app.tasks.get(name)
    return None if task is None else task.run
