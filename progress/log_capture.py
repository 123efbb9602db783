"""Takes what a task's own logger says into the task's log, for tasks that chose it by `capture_logs`.

A task's own logger is that of its module, with those below it, and any that Celery's `get_task_logger` gave. A
handler hangs on these loggers while such a task runs in this process, and not a moment longer. Levels and
propagation stay as the site has set them: what a logger drops by its own level is not seen here either.
"""

from __future__ import annotations

import logging
import threading
import weakref
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from billiard.exceptions import SoftTimeLimitExceeded

from .reporter import Reporter, running
from .snapshot import FINAL

TASK_LOGGER: Final = "celery.task"  # parent of what get_task_logger() gives


class _Capture(logging.Handler):
    """Passes a record on to the task that runs in the thread that made it."""

    def __init__(self) -> None:
        super().__init__()
        self._modules: dict[str, str] = {}  # of the tasks that chose it, by name
        self._thread = threading.local()

    def add(self, name: str, module: str) -> None:
        """Take what the logger of `module` says while the task `name` runs."""
        self._modules[name] = module

    def emit(self, record: logging.LogRecord) -> None:
        """Log what the record says; the traceback that it may carry is not for everybody who may watch."""
        reporter = running.get()
        level = reporter.job.options.capture_logs
        if not level or record.levelno < getattr(logging, level) or reporter.state in FINAL:
            return
        # It comes twice where both loggers are above it, and its arguments may log while they become text.
        last = getattr(self._thread, "last", None)
        if (last is not None and last() is record) or getattr(self._thread, "busy", False):
            return
        if not self._is_own(reporter, record):
            return
        self._thread.last = weakref.ref(record)
        self._thread.busy = True
        try:
            reporter.log(record.getMessage(), record.levelname)
        except SoftTimeLimitExceeded:
            raise
        except Exception:  # noqa: BLE001 (arguments that do not fit; the site's own handlers say so)
            return
        finally:
            self._thread.busy = False

    def _is_own(self, reporter: Reporter, record: logging.LogRecord) -> bool:
        module = self._modules.get(reporter.job.name, "")
        if record.name == module or record.name.startswith(f"{module}."):
            return True
        logger: logging.Logger | None = logging.getLogger(record.name)
        while logger is not None and logger.name != TASK_LOGGER:
            logger = logger.parent
        return logger is not None


_handler = _Capture()
_held: Counter[str] = Counter()  # running tasks that need the handler on a logger
_lock = threading.Lock()


@contextmanager
def capturing(name: str, module: str) -> Iterator[None]:
    """While the task `name` from `module` runs, its loggers are heard."""
    _handler.add(name, module)
    loggers = (module, TASK_LOGGER)
    with _lock:
        for logger in loggers:
            _held[logger] += 1
            logging.getLogger(logger).addHandler(_handler)  # a second time changes nothing
    try:
        yield
    finally:
        with _lock:
            for logger in loggers:
                _held[logger] -= 1
                if not _held[logger]:
                    del _held[logger]
                    logging.getLogger(logger).removeHandler(_handler)
