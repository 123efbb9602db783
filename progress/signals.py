"""What a site can be told: Django signals."""

from __future__ import annotations

from typing import Final

from django.dispatch import Signal

# A run of a task has ended, or is presumed lost (``run.state`` is "LOST": a sign of life may take that back).
# Arguments: `run`, a saved `TaskRun`; its `attempt` says which execution ended. Sent by the recorder, in a server
# process or in ``manage.py record_runs``, after the row is committed and at least once per attempt: a process that
# dies between the two sends it again when its work is taken over. Never sent by whoever enqueues or runs tasks.
run_finished: Final = Signal()
