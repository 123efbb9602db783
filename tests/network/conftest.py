"""The fixtures of tests/e2e."""

from tests.e2e.conftest import line_to, open_page  # noqa: F401 (fixtures are found by their names)
