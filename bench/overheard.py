"""What processes say to a Redis, by kind and by second, as its MONITOR tells it."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Self

from progress import redis_scripts, redis_store
from tests.processes import Redis

SCRIPTS = {
    script.sha: name
    for name, script in {
        "record": redis_scripts.RECORD,
        "step": redis_scripts.STEP,
        "beat": redis_scripts.BEAT,
        "renew": redis_scripts.RENEW,
        "watch": redis_scripts.WATCH,
        "queue": redis_scripts.QUEUE,
        "read": redis_store.READ,
    }.items()
}
OURS = ("ECHO",)  # how this module makes the monitor end


class Overheard:
    """Counts the commands of a Redis while the block runs.

    `outside` are those that processes send: each is one question and one answer. `inside` are those that scripts give
    within one of them. A script of ours is counted under its name, `record.lua` under what it was asked for: "EVALSHA
    save".
    """

    def __init__(self, server: Redis) -> None:
        self._server = server
        self.outside: Counter[str] = Counter()
        self.inside: Counter[str] = Counter()

    def __enter__(self) -> Self:
        self._client = self._server.client(socket_timeout=None)
        self._monitor = self._client.monitor().__enter__()
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        with self._server.client() as client:
            client.echo("that was all")
        self._thread.join(10)
        self._monitor.__exit__(*exception)
        self._client.close()
        if self._thread.is_alive():
            raise RuntimeError("Redis did not tell of all commands within 10 s.")

    def _listen(self) -> None:
        while (heard := self._monitor.next_command()) and (name := _kind(heard["command"])) not in OURS:
            (self.inside if heard["client_type"] == "lua" else self.outside)[name] += 1


def _kind(command: str) -> str:
    words = command.split(" ", 5)
    name = words[0].upper()
    if name == "EVALSHA" and len(words) > 4:  # the script, how many keys, the keys, the arguments
        script = SCRIPTS.get(words[1], "another")
        return f"{name} {words[4] if script == 'record' else script}"
    return name
