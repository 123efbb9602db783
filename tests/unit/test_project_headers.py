"""What the shipped site tells browsers about itself, on every kind of answer."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import yaml
from django.contrib.auth.models import User
from django.test import Client

from progress import views
from project.middleware import CONTENT, PERMISSIONS
from tests.unit.test_compose import TEXT, interpolated

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("progress_store")]

ROOT = Path(__file__).resolve().parents[2]
EXPECTED = {
    "Content-Security-Policy": CONTENT,
    "Permissions-Policy": PERMISSIONS,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
# path: (whether somebody is logged in, status)
ANSWERS: dict[str, tuple[bool, int]] = {
    "/": (True, 200),
    "/login/": (False, 200),
    "/exports/": (True, 200),
    "/exports/?as=nobody": (False, 302),
    "/admin/": (True, 200),
    "/admin/login/": (False, 200),
    "/admin/auth/user/": (True, 200),
    "/admin/auth/user/add/": (True, 200),
    "/admin/task_progress/taskrun/": (True, 200),
    "/admin/password_change/": (True, 200),
    "/nowhere/": (True, 404),
    "/admin/nowhere/": (True, 404),
    "/progress/?mine=1": (True, 200),
    "/progress/no-such-task/": (True, 404),
    "/progress/no-such-task/cancel/": (True, 405),
    "/progress/healthz": (False, 200),
    "/healthz": (False, 200),
    "/static/progress/task-progress.js": (False, 200),
    "/static/none.js": (False, 404),
}


def visitor(logged_in: bool, **options: Any) -> Client:
    client = Client(raise_request_exception=False, **options)
    if logged_in:
        client.force_login(User.objects.create_superuser("admin"))
    return client


def policies(answer: Any) -> dict[str, str]:
    return {name: answer.headers.get(name, "") for name in EXPECTED}


@pytest.mark.parametrize("path", ANSWERS)
def test_every_answer_carries_the_policies(path: str) -> None:
    """Pages, the admin's, redirects, errors, JSON and files."""
    logged_in, status = ANSWERS[path]
    answer = visitor(logged_in).get(path)
    answer.close()
    assert (answer.status_code, policies(answer)) == (status, EXPECTED)


def test_no_page_can_be_framed() -> None:
    """By the policy, and by the older header on whatever a view has made."""
    for path in ("/login/", "/nowhere/", "/progress/?mine=1"):
        assert visitor(False).get(path).headers["X-Frame-Options"] == "DENY"
    assert "frame-ancestors 'none'" in CONTENT


def test_a_fault_carries_them_too() -> None:
    """500, a host that is not ours, and a form without its token."""
    with patch.object(views, "get_store", side_effect=RuntimeError):
        fault = visitor(False).get("/progress/no-such-task/")
    host = visitor(False).get("/login/", headers={"Host": "evil.example"})
    form = visitor(False, enforce_csrf_checks=True).post("/login/", {"username": "a"})
    for answer, status in ((fault, 500), (host, 400), (form, 403)):
        assert (answer.status_code, policies(answer)) == (status, EXPECTED)


def test_the_policy_allows_no_inline_code_and_nothing_from_elsewhere() -> None:
    """Everything is forbidden that is not named, and what is named is our own."""
    rules = dict(rule.strip().split(" ", 1) for rule in CONTENT.split(";"))
    assert rules.pop("default-src") == rules.pop("base-uri") == rules.pop("frame-ancestors") == "'none'"
    assert rules.pop("img-src") == "'self' data:"
    assert set(rules) == {"script-src", "style-src", "font-src", "connect-src", "form-action"}
    assert set(rules.values()) == {"'self'"}


@pytest.mark.parametrize(
    "path", [path for path, (_, status) in ANSWERS.items() if status == 200 and "static" not in path]
)
def test_no_page_needs_inline_code(path: str) -> None:
    """What the policy forbids is in no page, the admin's included: no inline script or style, no handler."""
    text = visitor(ANSWERS[path][0]).get(path).content.decode()
    inline = re.findall(r"<script(?![^>]*\bsrc=)(?![^>]*application/json)[^>]*>", text)
    assert inline == []
    assert re.findall(r"<style|<[^>]+\s(?:style|on[a-z]+)=", text) == []


# --- Cookies and HTTPS -------------------------------------------------------------------------------------


def test_cookies_are_for_the_site_alone() -> None:
    """No script reads them, no other site's request carries them."""
    User.objects.create_user("ann", password="pass-of-ann")
    client = Client()
    client.get("/login/")
    client.post("/login/", {"username": "ann", "password": "pass-of-ann"})
    assert set(client.cookies) == {"csrftoken", "sessionid"}
    for cookie in client.cookies.values():
        assert (cookie["httponly"], cookie["samesite"], cookie["secure"]) == (True, "Lax", "")


def deployed(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run Python or manage.py in the configuration that compose.yaml gives the site."""
    filled_in = yaml.safe_load(interpolated(TEXT, {"SECRET_KEY": os.urandom(32).hex(), **environment}))
    # Compose fills in after it has read the file, so what is empty is an empty text, and true is "true".
    read = filled_in["services"]["web"]["environment"]
    told = {name: "" if value is None else str(value).lower() for name, value in read.items()}
    env = {"PATH": os.environ["PATH"], "DATA_DIR": os.environ["DATA_DIR"], **told}
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, {"security.W004", "security.W008", "security.W012", "security.W016"}),
        ({"HTTPS": "true"}, {"security.W004"}),
        ({"HTTPS": "true", "HSTS_SECONDS": "31536000"}, {"security.W005", "security.W021"}),
    ],
    ids=["plain", "https", "https and hsts"],
)
def test_every_warning_of_a_deployment_is_answered(environment: dict[str, str], expected: set[str]) -> None:
    """What Django warns of in the shipped configuration has its answer in docs/security.md."""
    done = deployed("manage.py", "check", "--deploy", **environment)
    assert done.returncode == 0, done.stderr
    assert set(re.findall(r"\(([a-z_]+\.[EWC]\d+)\)", done.stderr)) == expected
    answered = (ROOT / "docs/security.md").read_text()
    assert [each for each in expected if each not in answered] == []


HTTPS = """
import django
django.setup()
from django.test import Client
from django.test.utils import setup_test_environment
direct = Client().get("/login/")
assert (direct.status_code, direct["Location"]) == (301, "https://testserver/login/"), direct
assert Client().get("/healthz").status_code == Client().get("/progress/healthz").status_code == 200
page = Client().get("/login/", headers={"X-Forwarded-Proto": "https"})
assert page.status_code == 200
assert page["Strict-Transport-Security"] == "max-age=600"
assert page.cookies["csrftoken"]["secure"] is True
from django.conf import settings
assert settings.SESSION_COOKIE_SECURE and settings.SESSION_COOKIE_HTTPONLY
print("kept")
"""


def test_with_https_nothing_is_told_without_it() -> None:
    """HTTP is sent to HTTPS, but for health checks; cookies are secure; browsers remember for as long as was said."""
    chosen = {"HTTPS": "true", "HSTS_SECONDS": "600", "ALLOWED_HOSTS": "testserver"}
    os_env = {"DJANGO_SETTINGS_MODULE": "project.settings"}
    code = f"import os; os.environ.update({os_env!r})\n{HTTPS}"
    done = deployed("-c", code, **chosen)
    assert (done.stdout.strip(), done.returncode) == ("kept", 0), done.stderr
