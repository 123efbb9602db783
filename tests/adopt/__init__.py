"""The app enters a site that knew nothing of it. Run by `make adopt`: it builds, installs and starts everything."""
