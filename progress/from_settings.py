"""What follows from the settings is worked out once for all writes, not once for each."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, Final, ParamSpec, TypeVar

from django.conf import Settings, settings

P = ParamSpec("P")
T = TypeVar("T")

NAMES: Final = (
    "CHANNEL_LAYERS",
    "PROGRESS_CHANNEL_LAYER",
    "PROGRESS_PREFIX",
    "PROGRESS_REDIS_URL",
    "PROGRESS_STORE",
)


def from_settings(work_out: Callable[P, T]) -> Callable[P, T]:
    """Remember what `work_out` makes of the settings above, for as long as they say the same.

    Compared is what dicts, lists and tuples say, not which objects they are: a test may change a host in its place.
    To ask Django for one setting that a site has not takes longer than this for all. While they are overridden
    nothing is remembered.
    """
    found: dict[Any, tuple[list[Any], T]] = {}

    @wraps(work_out)
    def remembered(*args: P.args, **kwargs: P.kwargs) -> T:
        own = getattr(settings, "_wrapped", None)
        if type(own) is not Settings:
            return work_out(*args, **kwargs)
        given = vars(own)
        said = [given.get(name) for name in NAMES]
        known = found.get(args)
        if known is None or known[0] != said:
            found[args] = known = (_copied(said), work_out(*args, **kwargs))
        return known[1]

    return remembered


def _copied(value: Any) -> Any:
    """What `value` says now, should somebody change it in its place."""
    if isinstance(value, dict):
        return {name: _copied(each) for name, each in value.items()}
    if isinstance(value, list):
        return list(map(_copied, value))
    return tuple(map(_copied, value)) if isinstance(value, tuple) else value
