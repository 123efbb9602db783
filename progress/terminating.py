"""Tasks that were told to end by force. Celery calls them revoked when it has sent the signal; the body may differ.

It may tidy up for as long as it likes, take no notice, or sit in a library that returns to Python in an hour. So
nothing is said before the pool has given it up. Until then the worker's main process goes on giving signs of life
for it: Celery itself counts it no longer.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from typing import Any, Final

from . import publisher
from .leases import Held, Tell
from .native_thread import threads_are_greenlets

logger = logging.getLogger(__name__)

LOOK: Final = 0.05  # seconds between two looks whether it is over

_told: set[Held] = set()


def held() -> Iterator[Held]:
    """What was told to end and has not ended."""
    yield from list(_told)


def when_over(task: Held, is_over: Callable[[], bool], say: Callable[[], object]) -> None:
    """Call `say` once `is_over()`, in the publisher's thread. Neither may block or raise.

    Not promised: that it is called in a process that leaves first. The lease runs out then.
    """

    async def wait(_tell: Tell) -> None:
        _told.add(task)
        try:
            while not is_over():  # noqa: ASYNC110 (Celery's pools give no event)
                await asyncio.sleep(LOOK)
            say()
        except Exception:
            logger.exception("The end of task %s, which was terminated, could not be told", task.key)
        finally:
            _told.discard(task)

    publisher.get_publisher().run(wait)


def when_over_in_pool(task: Held, delivery: Any, say: Callable[[], object]) -> None:
    """Call `say` once the pool has given up `delivery`, but not if its body took no notice and told its own end."""
    reference = getattr(delivery, "_apply_result", None)
    result = reference() if reference is not None else None
    if result is None:  # the pool knows nothing of it any more
        say()
        return
    when_over(task, result.ready, lambda: _was_cut_short(result) and say())


def _was_cut_short(result: Any) -> bool:
    # Whatever a killed greenlet was doing, Celery lets it return; there the record knows whether it has ended.
    return threads_are_greenlets() or not result.successful()
