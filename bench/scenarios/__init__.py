"""What is measured: one module per scenario, in the order in which the page has them."""

from typing import Final

SCENARIOS: Final = (
    *("report", "busy_task", "throughput", "fanout", "dashboard", "latency", "busy_latency"),
    *("idle", "reconnect", "polling", "unwatched", "many_tasks"),
)
