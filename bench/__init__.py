"""What progress costs: the task that reports, and the server that delivers. `make bench` runs it."""
