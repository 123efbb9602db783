"""What the shop's Redis holds, seen by an outsider."""

from __future__ import annotations

from contextlib import closing

import redis

from .shop import Shop


def records(shop: Shop, ids: list[str]) -> list[dict[str, str]]:
    """The records of tasks, by the shop's prefix."""
    prefix = shop.env.get("SHOP_PROGRESS_PREFIX", "progress")
    with closing(redis.Redis.from_url(shop.redis.url, decode_responses=True)) as client:
        pipe = client.pipeline(transaction=False)
        for task_id in ids:
            pipe.hgetall(f"{prefix}:task:{task_id}")
        found: list[dict[str, str]] = pipe.execute()
    return found
