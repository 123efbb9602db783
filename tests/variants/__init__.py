"""The shipped site in many surroundings: which, what is tried in each, and the table of what came of it."""
