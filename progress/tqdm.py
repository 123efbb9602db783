"""tqdm's bar that also reports: ``from progress.tqdm import tqdm`` in the place of ``from tqdm import tqdm``.

The loop costs what tqdm's costs, because it is tqdm's own: what the bar knows is reported when tqdm displays it (its
`mininterval`, 0.1 s), and once more when it closes, so the count at the end is exact, after an exception too. On the
terminal nothing changes. Outside a task nothing is reported.

One task has one bar: the outermost that is open. Bars inside of it are printed only. When it is closed and another
one opens, the count begins again. `desc` becomes the message, `unit` and `total` are those of the bar; a postfix is
printed only. A bar with ``disable=True`` prints nothing and reports all the same, item by item.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator
from typing import Any

from .exceptions import TaskCancelled
from .reporter import NOBODY, Reporter, running

try:
    from tqdm import std
except ImportError as missing:  # pragma: no cover (a test plays it in a process of its own)
    raise ImportError(
        "progress.tqdm needs the package tqdm, which is not installed: pip install 'django-task-progress[tqdm]'."
    ) from missing

__all__ = ["tqdm", "trange"]

# Which bar of each running task is the outermost.
_outermost: weakref.WeakKeyDictionary[Reporter, weakref.ref[tqdm]] = weakref.WeakKeyDictionary()


class tqdm(std.tqdm):  # type: ignore[misc]  # noqa: N801 (the name that it takes the place of)
    """Takes what tqdm takes, and reports to the running task."""

    n: float

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._reporter = running.get()
        self._told: dict[str, Any] = {"message": ""}  # as it was told last
        super().__init__(*args, **kwargs)
        if self.disable and self._reporter is not NOBODY:
            given = dict(zip(("iterable", "desc"), args, strict=False)) | kwargs
            self.__class__ = _Silent
            self.desc, self.unit = str(given.get("desc") or ""), kwargs.get("unit", "it")
            self._report()

    # --- Where tqdm displays -------------------------------------------------------------------------------

    def refresh(self, *args: Any, **kwargs: Any) -> Any:
        """Display and report. `update` and the loop come here when it is time."""
        displayed = super().refresh(*args, **kwargs)
        # tqdm's own thread refreshes bars that are slow: it knows nothing new, and is not the one to be stopped.
        if not isinstance(threading.current_thread(), std.TMonitor):
            self._report()
        return displayed

    def set_description(self, desc: str | None = None, refresh: bool | None = True) -> None:
        """Change the description; the task's message follows."""
        super().set_description(desc, refresh)
        self._describe(refresh)

    def set_description_str(self, desc: str | None = None, refresh: bool | None = True) -> None:
        """Change the description; the task's message follows."""
        super().set_description_str(desc, refresh)
        self._describe(refresh)

    def _describe(self, refresh: bool | None) -> None:
        if refresh and self.disable:  # a bar that is displayed has been refreshed
            self._report()

    def reset(self, total: float | None = None) -> None:
        """Begin again at zero, on the terminal and in the report."""
        if self._is_told():
            self._reporter.reset()
            self._told.clear()
        super().reset(total)
        self._report()

    def close(self) -> None:
        """Report the exact count, then close as tqdm does. Never raises because of a cancelled task."""
        reporter = getattr(self, "_reporter", NOBODY)
        if reporter is not NOBODY and self._is_told():
            self._report(may_raise=False)
            _outermost.pop(reporter, None)
        self._reporter = NOBODY
        super().close()

    # --- What is told --------------------------------------------------------------------------------------

    def _report(self, may_raise: bool = True) -> None:
        reporter = self._reporter
        if reporter is NOBODY or not (self._is_told() or self._take_over()):
            return
        unit = reporter.job.options.unit if self.unit == "it" else self.unit
        bar = {"total": self.total, "message": self.desc.removesuffix(": "), "unit": unit}
        news = {name: value for name, value in bar.items() if name not in self._told or self._told[name] != value}
        self._told = bar
        try:
            reporter.update(current=self.n, **news)
        except TaskCancelled:
            if may_raise:
                raise

    def _is_told(self) -> bool:
        holder = _outermost.get(self._reporter)
        return holder is not None and holder() is self

    def _take_over(self) -> bool:
        """Become the bar that is told, if no other one is open."""
        reporter = self._reporter
        holder = _outermost.get(reporter)
        if holder is not None and holder() is not None:
            return False
        _outermost[reporter] = weakref.ref(self)
        if reporter.current > self.n:  # of the bar before, and so is the message
            reporter.reset()
            self._told.clear()
        return True


class _Silent(tqdm):
    """A bar with ``disable=True``: tqdm does not even count it, so this does."""

    def __iter__(self) -> Iterator[Any]:
        """The items, each counted when the loop asks for the next one."""
        reporter = self._reporter
        try:
            if self._is_told():
                yield from reporter.track(self.iterable, self.total)
            else:
                for item in self.iterable:
                    yield item
                    self.n += 1
        finally:
            if self._is_told():
                self.n = reporter.current
            self.close()

    def update(self, n: float = 1) -> None:
        """`n` more are done."""
        self.n += n
        self._report()


def trange(*args: Any, **kwargs: Any) -> tqdm:
    """``tqdm(range(*args), **kwargs)``."""
    return tqdm(range(*args), **kwargs)
