"""The page on testing is a test file: it runs, and all of its tests pass."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path

from progress import communicator, pytest_plugin, testing
from tests.unit.test_docs import names, read, rows, section

ROOT = Path(__file__).resolve().parents[2]
PAGE = "docs/testing.md"
SETTINGS = """
SECRET_KEY = "k"
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = ["django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions", "progress"]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "progress.middleware.OwnerMiddleware",
]
ROOT_URLCONF = "site_urls"
CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
        "CONFIG": {"hosts": ["redis://127.0.0.1:1/0"]},
    }
}
"""
URLS = """
from django.urls import include, path
urlpatterns = [path("progress/", include("progress.urls"))]
"""


def test_the_page_runs(tmp_path: Path) -> None:
    """In a site of its own, whose settings name a Redis that is not there."""
    blocks = re.findall(r"```python\n(.*?)```", read(PAGE), re.DOTALL)
    (conftest,) = [block for block in blocks if block.startswith("# conftest.py")]
    marked = ["import pytest\n\npytestmark = pytest.mark.django_db\n"]
    files = {
        "conftest.py": conftest,
        "test_page.py": "\n\n".join([*marked, *(block for block in blocks if block is not conftest)]),
        "site_settings.py": SETTINGS,
        "site_urls.py": URLS,
        "pytest.ini": "[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\n",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    env = {"DJANGO_SETTINGS_MODULE": "site_settings", "PYTHONPATH": f"{ROOT}:{tmp_path}", "PATH": ""}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", "--color=no"],
        env=env,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    tests = len(re.findall(r"^(?:async )?def test_", files["test_page.py"], re.MULTILINE))
    assert tests >= 8
    assert f"\n{tests} passed" in done.stdout, done.stdout + done.stderr


def test_everything_that_a_told_offers_is_on_the_page() -> None:
    """The table has each of its attributes and methods, and no other."""
    table = section(PAGE, "What a task reports")
    listed = {name for cells in rows(table) for name in names(cells[0])}
    offered = {name for name, _ in inspect.getmembers(testing.Told) if not name.startswith("_")}
    offered = (offered | {"staff"}) - {"count", "index"}  # these two are of every sequence
    found = {match[1] for name in listed if (match := re.match(r"told\.(\w+)", name))}
    assert found == offered


def test_everything_else_that_is_public_is_named() -> None:
    """Functions and classes of the kit, methods of the client, fixtures of the plugin."""
    text = read(PAGE)
    public = [name for name in testing.__all__ if name not in ("MemoryStore", "Told")]
    methods = [name for name in vars(communicator.Communicator) if not name.startswith("_")]
    fixtures = [name for name in vars(pytest_plugin) if name.startswith("progress_")]
    assert len(fixtures) == 2
    missing = [name for name in (*public, *methods, *fixtures) if not re.search(rf"\b{name}\b", text)]
    assert missing == []
