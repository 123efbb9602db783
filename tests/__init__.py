"""Tests, named as guarantees. `conftest.py` has the fixtures, `processes.py` the real servers."""
