"""Whether anybody is in a task's group: Redis knows it, when it carries the pub/sub layer's messages itself.

A hint to nobody costs its sender fifty times what it costs Redis. With a layer whose members nobody can count, every
change is announced. Who joins a group reads the record next (`docs/protocol.md`), so nothing is missed.
"""

from __future__ import annotations

from typing import Final

from django.conf import settings

from . import groups, redis_url
from .conf import conf
from .exceptions import ProgressError
from .from_settings import from_settings

PUB_SUB: Final = "channels_redis.pubsub.RedisPubSubChannelLayer"


def channel_of(key: str, store: str) -> str:
    """The channel of the group of the task `key`; "" if the Redis at the URL `store` cannot count its members."""
    prefix = _prefix(store)
    return prefix and prefix + groups.of_key(key)


@from_settings
def _prefix(store: str) -> str:
    layer = getattr(settings, "CHANNEL_LAYERS", {}).get(conf.PROGRESS_CHANNEL_LAYER, {})
    if layer.get("BACKEND") != PUB_SUB:
        return ""
    config = layer.get("CONFIG", {})
    hosts = config.get("hosts") or [redis_url.LOCAL]
    try:
        same = len(hosts) == 1 and redis_url.of_hosts(hosts) == store
    except ProgressError:  # written in a way that no URL can say
        return ""
    return f"{config.get('prefix', 'asgi')}__group__" if same else ""
