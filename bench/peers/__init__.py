"""Programs of a few lines that only pass on what a Redis channel brings: what the delivery alone costs."""
