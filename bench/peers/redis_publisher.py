"""The floor's worker: one redis-py `PUBLISH` per step, with "store" after an `HSET`; notes when each was reached."""

import random
import sys
import time
from array import array
from pathlib import Path

import redis

url, channel, file, steps, shortest, longest, store = sys.argv[1:]
client, moments = redis.Redis.from_url(url), array("q")
client.ping()
for number in range(1, int(steps) + 1):
    time.sleep(random.uniform(float(shortest), float(longest)))
    moments.append(time.monotonic_ns())
    snapshot = f'{{"id": "floor", "current": {number}, "total": {steps}, "message": "Reading rows"}}'
    if store == "store":
        client.hset("floor", "snapshot", snapshot)
    client.publish(channel, snapshot)
Path(file).write_bytes(moments.tobytes())
