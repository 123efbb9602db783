"""What takes minutes in a real browser. Run by `make e2e-long`."""
