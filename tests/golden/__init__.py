"""What each release has written and said, as its own code did. `README` says how to add a release."""
