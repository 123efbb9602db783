"""`with_progress`: our sockets are ours, everything else is the site's, untouched."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from progress import asgi, routing
from progress.consumers import ProgressConsumer
from progress.servers import Flow

ROOT = Path(__file__).resolve().parents[2]


class Site:
    """An ASGI application that notes what reached it."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, Any, Any]] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.calls.append((scope, receive, send))


@pytest.fixture
def ours(monkeypatch: Any) -> list[dict[str, Any]]:
    """The scopes that reach our consumer."""
    scopes: list[dict[str, Any]] = []

    async def run(self: ProgressConsumer, scope: Any, receive: Any, send: Any) -> None:
        scopes.append(scope)

    monkeypatch.setattr(ProgressConsumer, "__call__", run)
    return scopes


async def receive() -> dict[str, Any]:
    return {"type": "websocket.connect"}


class Sent(list[dict[str, Any]]):
    async def __call__(self, message: dict[str, Any]) -> None:
        self.append(message)


def socket(path: str, **more: Any) -> dict[str, Any]:
    return {"type": "websocket", "path": path, "headers": [], **more}


@pytest.mark.parametrize(
    "scope",
    [
        {"type": "http", "path": "/ws/progress/", "headers": []},
        {"type": "lifespan"},
        socket("/ws/chat/"),
        socket("/"),
        socket("/other/ws/progress/"),
        socket("/ws/progress-bars/"),
        socket("/ws/progress"),
    ],
    ids=lambda scope: f"{scope['type']} {scope.get('path', '')}",
)
async def test_everything_else_reaches_the_site_as_it_came(scope: dict[str, Any]) -> None:
    """The very objects of the server: no wrapper of ours is between the server and the site."""
    site, send = Site(), Sent()
    await asgi.with_progress(site)(scope, receive, send)
    ((found, received, sent),) = site.calls
    assert found is scope
    assert "progress.flow" not in scope
    assert (received, sent) == (receive, send)


@pytest.mark.parametrize(
    ("path", "script_name", "root_path"),
    [
        ("/ws/progress/", None, ""),
        ("/site/ws/progress/", "/site", ""),  # FORCE_SCRIPT_NAME; the proxy leaves it on
        ("/site/ws/progress/", "/site/", ""),
        ("/ws/progress/", "/site", ""),  # the proxy takes it off
        ("/site/ws/progress/", None, "/site"),  # the server knows it
        ("/site/ws/progress/", "/site", "/site"),
        ("/a/b/ws/progress/", None, "/a/b"),
        ("/ws/progress/", None, "/site"),
    ],
)
async def test_our_sockets_are_found_below_a_script_name(
    settings: Any, ours: list[dict[str, Any]], path: str, script_name: str | None, root_path: str
) -> None:
    """Whoever knows of the script name, the settings or the server, and whether or not a proxy has taken it off."""
    settings.FORCE_SCRIPT_NAME = script_name
    site = Site()
    application = asgi.with_progress(site)
    await application(socket(path, root_path=root_path), receive, Sent())
    await application(socket(f"{path}some-id/", root_path=root_path), receive, Sent())
    assert [scope["url_route"]["kwargs"] for scope in ours] == [{}, {"task_id": "some-id"}]
    assert [scope["path"] for scope in ours] == [path, f"{path}some-id/"]
    assert site.calls == []


async def test_our_sockets_have_all_that_they_need(ours: list[dict[str, Any]]) -> None:
    """Origin, viewer and flow are in the scope, as with the stack that is written out."""
    await asgi.with_progress(Site())(socket("/ws/progress/"), receive, Sent())
    (scope,) = ours
    assert {"progress.origin", "progress.viewer", "progress.flow"} <= scope.keys()
    assert isinstance(scope["progress.flow"], Flow)


async def test_a_wrong_address_of_ours_is_closed_with_a_code(ours: list[dict[str, Any]]) -> None:
    """A browser learns that there is nothing, and a server logs no error."""
    sent = Sent()
    await asgi.with_progress(Site())(socket("/ws/progress/a/b/"), receive, sent)
    assert [(message["type"], message.get("code")) for message in sent] == [
        ("websocket.accept", None),
        ("websocket.close", 4404),
    ]


def test_the_addresses_are_those_of_the_routes() -> None:
    """What goes to our routes is what they are for."""
    paths = [str(route.pattern) for route in routing.websocket_urlpatterns]
    assert [path for path in paths if path and not path.startswith(asgi.BELOW)] == []


def test_the_import_may_come_before_the_apps_are_loaded() -> None:
    """A formatter sorts imports; only the call needs Django to be set up."""
    script = """
from progress.asgi import with_progress
from django.core.asgi import get_asgi_application
application = with_progress(get_asgi_application())
print(callable(application))
"""
    env = {"DJANGO_SETTINGS_MODULE": "tests.settings", "PATH": ""}
    done = subprocess.run(
        [sys.executable, "-c", script], env=env, cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.stdout.strip(), done.stderr) == ("True", "")
