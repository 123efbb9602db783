"""The shipped nginx.conf: a real nginx with it, in front of the real site."""

from __future__ import annotations

import http.client
import itertools
import json
import os
import re
import shutil
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect
from websockets.sync.client import ClientConnection, connect

from progress.heart import HEARTBEAT
from tests.acted import ActedTask
from tests.processes import Server, Site, free_port, in_this_process, listening
from tests.sse import Stream

pytestmark = pytest.mark.needs_nginx

CONF = Path(__file__).parents[2] / "project/nginx.conf"
PROGRAM = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
STRANGERS = 3  # connections that this site allows to one address without session and token
OWN = 5  # and to one user


def rendered(folder: Path, port: int, site_port: int, data: Path) -> str:
    """The shipped file with this test's ports and folders in it, and nothing else changed."""
    text = CONF.read_text()
    spool = "".join(f"{name}_temp_path {folder}/{name};\n" for name in ("client_body", "proxy"))
    unused = "".join(f"{name}_temp_path {folder}/{name};\n" for name in ("fastcgi", "uwsgi", "scgi"))
    for shipped, here in {
        "listen 80;": f"listen 127.0.0.1:{port};",
        "server 127.0.0.1:8000;": f"server 127.0.0.1:{site_port};",
        "root /data;": f"root {data};",
        "pid /run/nginx.pid;": f"pid {folder}/nginx.pid;" + (" user root;" if os.geteuid() == 0 else ""),
        "include /etc/nginx/mime.types;": f"include /etc/nginx/mime.types;\n{spool}{unused}",
    }.items():
        assert text.count(shipped) == 1, f"{CONF.name} has no {shipped}"
        text = text.replace(shipped, here)
    return text


class Nginx(Server):
    """nginx with the shipped file, in front of `site`."""

    def __init__(self, folder: Path, site: Site) -> None:
        super().__init__("nginx", folder)
        self.port = free_port()
        self.site = site

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def ws(self) -> str:
        return f"ws://127.0.0.1:{self.port}/ws/progress/"

    def command(self) -> Sequence[str]:
        file = self.folder / "nginx.conf"
        file.write_text(rendered(self.folder, self.port, self.site.web.port, self.site.data))
        return [str(PROGRAM), "-c", str(file), "-g", "daemon off;"]

    def is_ready(self) -> bool:
        return listening(self.port)

    def user(self, **options: Any) -> Any:
        """A user of the site behind it."""
        return self.site.user(**options)

    def get(self, method: str, path: str, body: bytes = b"", **headers: str) -> http.client.HTTPResponse:
        """One request over a connection of its own, answered in full."""
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)) as connection:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            answer.content = answer.read()  # type: ignore[attr-defined]
            return answer


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A site that believes this machine's nginx."""
    env = {
        "PROGRESS_TRUSTED_PROXIES": "127.0.0.1",
        "PROGRESS_MAX_CONNECTIONS_PER_ADDRESS": str(STRANGERS),
        "PROGRESS_MAX_CONNECTIONS": str(OWN),
    }
    own = Site(tmp_path_factory.mktemp("behind") / "site", env=env)
    try:
        yield own.start()
    finally:
        own.stop()


@pytest.fixture
def nginx(tmp_path: Path, site: Site) -> Iterator[Nginx]:
    """nginx with fresh counts."""
    server = Nginx(tmp_path / "nginx", site)
    try:
        yield server.start()
    finally:
        server.stop()


# --- The file ----------------------------------------------------------------------------------------------


def test_the_shipped_file_is_valid(tmp_path: Path) -> None:
    """`nginx -t` accepts it; as it stands where this test may read and write what a system's nginx may."""
    file = tmp_path / "nginx.conf"
    file.write_text(CONF.read_text() if os.geteuid() == 0 else rendered(tmp_path, free_port(), 1, tmp_path))
    done = subprocess.run([str(PROGRAM), "-t", "-c", str(file)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "[warn]" not in done.stderr


def test_its_numbers_fit_those_of_the_site() -> None:
    """Silence outlasts heartbeats, and a file that the form takes gets as far as the form."""
    from project.settings import UPLOAD_MAX_BYTES

    text = CONF.read_text()
    patience = [int(each) for each in re.findall(r"proxy_(?:read|send)_timeout (\d+)s;", text)]
    assert len(patience) == 4
    assert min(patience) > 2 * HEARTBEAT
    (largest,) = re.findall(r"client_max_body_size (\d{4,})m;", text)
    assert UPLOAD_MAX_BYTES < int(largest) * 1024 * 1024 < 1.1 * UPLOAD_MAX_BYTES


# --- It works ----------------------------------------------------------------------------------------------


def test_a_job_runs_in_a_browser_behind_it(nginx: Nginx, open_page: Any) -> None:
    """Page, form, socket and bar: everything as without it, and nothing on the console."""
    page = open_page(nginx, nginx.user())
    page.get_by_label("Seconds").fill("2")
    page.get_by_label("Steps").fill("20")
    page.get_by_role("button", name="Start a job").click()
    page.wait_for_url("**/runs/**")
    expect(page.locator("task-progress").first).to_contain_text("done", timeout=20_000)


@pytest.mark.parametrize("address", ["/progress/{}/events/", "/progress/?id={}"], ids=["one", "several"])
def test_events_come_as_they_are_sent(nginx: Nginx, settings: Any, address: str) -> None:
    """The first within 2 s, and so each that follows: nothing waits for a buffer to be full."""
    user = nginx.user()
    with in_this_process(settings, nginx.site.redis.url, nginx.site.prefix):
        task = ActedTask(owner=str(user.pk)).queue()
        with Stream(nginx.url, address.format(task.id), cookie=user.cookie) as stream:
            assert stream.headers["Server"] == "nginx"
            assert stream.told("heartbeat", 2)["at"]
            assert stream.events[0].at - stream.began < 2
            stream.sees(task.key, 2, state="PENDING")
            for step in (1, 2, 3):
                task.run(step, 3)
                stream.sees(task.key, 2, current=step)
            task.end()
            stream.sees(task.key, 2, state="SUCCESS")
            stream.ends(2)


def test_collected_files_are_its_own_others_are_the_sites(nginx: Nginx) -> None:
    """What lies in the folder is not asked for at the site; what does not, is."""
    folder = nginx.site.data / "static"
    folder.mkdir(exist_ok=True)
    (folder / "collected.css").write_text("body {}")
    answer = nginx.get("GET", "/static/collected.css")
    assert (answer.status, answer.content) == (200, b"body {}")  # type: ignore[attr-defined]
    assert answer.headers["Server"] == "nginx"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert nginx.get("GET", "/static/progress/task-progress.js").status == 200
    for elsewhere in ("/static/../db.sqlite3", "/static/%2e%2e/db.sqlite3", "/db.sqlite3"):
        assert nginx.get("GET", elsewhere).status in (400, 404)


# --- What a client cannot say ------------------------------------------------------------------------------


def test_a_script_name_cannot_be_forged(nginx: Nginx) -> None:
    """Daphne believes a header that names the root of all links; nginx takes it off."""
    forged = {"Daphne-Root-Path": "/evil"}
    with closing(http.client.HTTPConnection("127.0.0.1", nginx.site.web.port, timeout=20)) as connection:
        connection.request("GET", "/login/", headers=forged)
        assert b"/evil/" in connection.getresponse().read()
    assert b"/evil/" not in nginx.get("GET", "/login/", **forged).content  # type: ignore[attr-defined]


def test_an_address_cannot_be_forged(nginx: Nginx) -> None:
    """Strangers are counted by the address that nginx sees, not by what they write into a header."""
    with ExitStack() as stack:
        pages = [stranger(nginx, f"203.0.113.{number}", stack) for number in range(STRANGERS + 1)]
        assert [said(page) for page in pages] == ["heartbeat"] * STRANGERS + [4429]


def stranger(nginx: Nginx, forwarded: str, stack: ExitStack) -> ClientConnection:
    page = connect(nginx.ws, additional_headers=[("X-Forwarded-For", forwarded)], proxy=None)
    return stack.enter_context(page)


def said(page: ClientConnection) -> Any:
    """What the server answers to a ping, or the code that it closes with."""
    with suppress(Exception):
        page.send('{"type":"ping"}')
        return json.loads(page.recv(10))["type"]
    return page.close_code


# --- What it holds off -------------------------------------------------------------------------------------

SLOW = {
    "a head that never ends": (b"GET /login/ HTTP/1.1\r\nHost: localhost\r\n", b"X"),
    "a head that does not begin": (b"", b""),
    "a body that does not come": (b"POST /login/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n", b""),
    "a handshake that never ends": (b"GET /ws/progress/ HTTP/1.1\r\nHost: localhost\r\nUpgrade: web", b"s"),
}


def test_slow_senders_are_cut(nginx: Nginx) -> None:
    """Whoever sends a byte a second, or nothing, is cut within 30 s, and meanwhile the site answers everybody."""
    deadline = time.monotonic() + 30
    with ExitStack() as stack:
        slow = []
        for head, dribble in SLOW.values():
            for _ in range(10):
                line = stack.enter_context(socket.create_connection(("127.0.0.1", nginx.port), timeout=1))
                line.sendall(head)
                slow.append((line, dribble))
        while slow and time.monotonic() < deadline:
            slow = [(line, dribble) for line, dribble in slow if not is_cut(line, dribble)]
            assert nginx.get("GET", "/healthz").status == 200
    assert not slow, f"{len(slow)} slow senders are still connected."


def is_cut(line: socket.socket, dribble: bytes) -> bool:
    """Send one byte more; True if the other side has ended the connection. Waits a moment for that."""
    line.settimeout(0.02)
    try:
        line.sendall(dribble)
        while said := line.recv(4096):
            assert b" 408 " in said or b" 400 " in said or b"\r\n" in said
        return True
    except TimeoutError:
        return False
    except OSError:
        return True


ADDRESSES = itertools.count(10)  # nginx counts for seconds what an address has asked for: each flood has its own


def statuses(nginx: Nginx, request: bytes, lines: int, each: int = 1) -> Counter[int]:
    """Send so many requests at once, over so many connections, and count the answers by status."""
    at, own = ("127.0.0.1", nginx.port), (f"127.0.0.{next(ADDRESSES)}", 0)
    with ExitStack() as stack:
        opened = [
            stack.enter_context(socket.create_connection(at, timeout=20, source_address=own)) for _ in range(lines)
        ]
        for line in opened:
            line.sendall(request * each)
        found: Counter[int] = Counter()
        for line in opened:
            got = b""
            while len(heads := re.findall(rb"HTTP/1\.1 (\d{3}) ", got)) < each and (data := line.recv(65536)):
                got += data
            found.update(int(status) for status in heads)
        return found


def test_a_flood_of_requests_is_refused(nginx: Nginx) -> None:
    """Of a thousand at once from one address some hundreds are answered, the others get 429."""
    folder = nginx.site.data / "static"
    folder.mkdir(exist_ok=True)
    (folder / "flooded.css").write_text("body {}")  # nobody waits for the site, while nginx would let in more
    found = statuses(nginx, b"GET /static/flooded.css HTTP/1.1\r\nHost: localhost\r\n\r\n", lines=20, each=50)
    assert found.total() == 1000
    assert found[200] >= 200
    assert found[429] >= 200
    assert set(found) == {200, 429}


def test_a_flood_of_sockets_is_refused(nginx: Nginx) -> None:
    """Of four hundred handshakes at once some two hundred reach the site, the others get 429."""
    handshake = (
        f"GET /ws/progress/ HTTP/1.1\r\nHost: 127.0.0.1:{nginx.port}\r\nUpgrade: websocket\r\nConnection: upgrade\r\n"
        "Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    found = statuses(nginx, handshake.encode(), lines=400)
    assert found[101] >= 150
    assert found[429] >= 20
    assert set(found) == {101, 429}


def test_a_flood_of_streams_is_refused(nginx: Nginx) -> None:
    """Of four hundred at once some two hundred are asked for at the site, the others get 429."""
    head = f"HTTP/1.1\r\nHost: 127.0.0.1:{nginx.port}\r\nAccept: text/event-stream\r\n\r\n"
    found = statuses(nginx, f"GET /progress/none/events/ {head}".encode(), lines=400)
    assert found[404] >= 150
    assert found[429] >= 20
    assert set(found) == {404, 429}


@pytest.mark.parametrize("path", ["/progress/?mine=1", "/progress/?mine=1&id=none"])
def test_a_user_with_too_many_streams_is_told_when_to_come_back(nginx: Nginx, path: str) -> None:
    """The site's own limit, said through nginx as the site says it; the streams that were there go on."""
    cookie = nginx.user().cookie
    with ExitStack() as stack:
        open_ones = [stack.enter_context(Stream(nginx.url, path, cookie=cookie)) for _ in range(OWN)]
        for each in open_ones:
            assert each.told("heartbeat", 2)
        refused = Stream(nginx.url, path, cookie=cookie)
        assert refused.finished() == 429
        assert json.loads(refused.body) == {"error": "too_many"}
        assert int(refused.headers["Retry-After"]) > 0
        assert not any(each.ended for each in open_ones)


def test_passwords_cannot_be_tried_by_the_thousand(nginx: Nginx) -> None:
    """After eleven attempts at once an address waits; the page itself is shown to it all the same."""
    for path in ("/login/", "/admin/login/"):
        tried = [nginx.get("POST", path, b"username=a&password=b").status for _ in range(15)]
        assert 429 in tried
        assert nginx.get("GET", path).status == 200


def test_what_is_too_large_is_refused(nginx: Nginx) -> None:
    """Bodies, heads, and what is said over a socket; a file for a job gets through to the site."""
    assert nginx.get("POST", "/login/", b"x" * 20_000).status == 413
    assert nginx.get("POST", "/exports/", b"x" * 2_000_000).status == 413
    assert nginx.get("GET", "/login/", Cookie="x" * 40_000).status == 400
    assert nginx.get("POST", "/start/import-customers/", b"x" * 2_000_000).status != 413
    with connect(
        nginx.ws, additional_headers=[("Cookie", nginx.user().cookie)], origin=nginx.url, proxy=None
    ) as page:
        assert said(page) == "heartbeat"
        page.send("x" * 100_000)
        with suppress(Exception):
            while True:
                page.recv(10)
        assert page.close_code == 4429
