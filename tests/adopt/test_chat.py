"""The site's own consumers are on the same core layer, and must not notice."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

from tests.processes import wait_until

from .redis_of import records
from .shop import PEOPLE, Shop, Socket

WORKERS = 2
TASKS = 150
SECONDS = 10.0
PATIENCE = 60.0
UPDATES = 10_000  # stored and pushed while the chat talks: a thousand a second, where the machine can
SAY_EVERY = 0.04  # seconds

# A group, so that one token covers all of it.
SEND = """
import json
import progress
from celery import group
from tasks.tasks import export
each = export.s(name="flood", rows=1000, pause=0.06)
with progress.owner({owner!r}):
    sent = group([each] * {tasks}).apply_async(queue="flood")
print(json.dumps([[child.id for child in sent.children], progress.watch_token(sent.id)]))
"""


@pytest.fixture
def flood(shop: Shop) -> Iterator[tuple[list[str], str]]:
    """Many tasks that run at once, each pushed up to ten times a second: their ids, and a token for all."""
    pool = ("--pool", "threads", "--concurrency", str(TASKS // WORKERS), "--prefetch-multiplier", "1")
    workers = [shop.new_worker(f"flood{number}", *pool, "--queues", "flood") for number in range(WORKERS)]
    try:
        for worker in workers:
            worker.start(wait=False)
        for worker in workers:
            worker.wait_ready()
        yield json.loads(shop.script(SEND.format(tasks=TASKS, owner=str(PEOPLE["ann"]))))
    finally:
        for worker in workers:
            worker.kill()


class Listener:
    """Reads a socket in a thread, so that nothing waits there for us."""

    def __init__(self, socket: Socket) -> None:
        self.socket, self.heard = socket, list[dict[str, Any]]()
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        with suppress(ConnectionClosed, TimeoutError):
            while True:
                self.heard.append(self.socket.hear(60))

    def texts(self) -> list[str]:
        return [message["text"] for message in self.heard]


def said(shop: Shop, ids: list[str]) -> int:
    """How many updates of these tasks have been stored, and then pushed."""
    return sum(int(record.get("n") or 0) for record in records(shop, ids))


def test_the_chat_loses_nothing_while_progress_pushes_a_thousand_updates_a_second(
    shop: Shop, flood: tuple[list[str], str]
) -> None:
    """One Daphne, one core layer with its capacity of a hundred: every message of the chat arrives, in order."""
    ids, token = flood
    with shop.socket() as bars, shop.socket("/ws/chat/lobby/") as one, shop.socket("/ws/chat/lobby/") as two:
        watching, chat = Listener(bars), Listener(two)
        bars.say(type="watch", ids=ids, token=token)
        wait_until(lambda: said(shop, ids) > 5 * TASKS, 30, "all of them run")
        before, began, sent = said(shop, ids), time.monotonic(), list[str]()
        pace = threading.Event()
        while time.monotonic() < began + SECONDS or said(shop, ids) < before + UPDATES:
            assert time.monotonic() < began + PATIENCE, f"only {said(shop, ids) - before} updates of {UPDATES}"
            sent.append(str(len(sent)))
            one.say(text=sent[-1])
            pace.wait(SAY_EVERY)
        wait_until(lambda: chat.texts()[-1:] == sent[-1:], 20, "the last message of the chat")
    assert chat.texts() == sent
    assert sum(message["type"] == "snapshots" for message in watching.heard) > SECONDS
