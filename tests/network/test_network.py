"""A page over bad lines: it says by itself that it is cut off, and is right again soon after the line is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import LineTo
from tests.e2e.test_nginx import Nginx, rendered
from tests.processes import Login, Site, Web

from .bars import BEHIND, HEALS, LOST, Running, becomes, connection, moves, shows
from .rides import ROUND_TRIP, Ride


@pytest.fixture
def login(site: Site) -> Login:
    return site.user()


@pytest.fixture
def job(site: Site, login: Login, tmp_path: Path) -> Iterator[Running]:
    """A job that runs until the test lets it end; at the latest, when the test is over."""
    running = Running(login, tmp_path).begun()
    yield running
    running.end()


def test_an_open_socket_that_freezes_is_noticed_when_the_network_goes_and_heals_when_it_comes(
    line_to: LineTo, site: Site, login: Login, job: Running, open_page: Any
) -> None:
    """Offline, no byte passes and no connection closes: the page says so soon, and shows the end when it is back."""
    line = line_to(site)
    page = open_page(line, login, job.page)
    moves(page)
    line.freeze()
    page.context.set_offline(True)
    shows(page, LOST, 10)
    job.end()
    line.thaw()
    page.context.set_offline(False)
    shows(page, "done", HEALS)
    becomes(page, state="live", transport="websocket")


def test_silence_is_told_from_death(line_to: LineTo, site: Site, login: Login, job: Running, open_page: Any) -> None:
    """A proxy that cuts what is silent for 20 s never has to; a line that died without a word is said to be dead."""
    strict, dying = line_to(site, patience=20), line_to(site)
    idle = open_page(strict, site.user(), "/")  # waits for this user's jobs, and there are none
    becomes(idle, state="live")
    page = open_page(dying, login, job.page)
    moves(page)
    dying.freeze()
    shows(page, LOST, 45)  # 35 s of silence, and a ping
    job.end()
    dying.thaw()
    shows(page, "done", HEALS)
    idle.wait_for_timeout(max(0, 45_000 - idle.evaluate("performance.now()")))
    assert connection(idle) == {"state": "live", "transport": "websocket"}
    assert (strict.count["silent"], strict.count["websockets"]) == (0, 1)


def test_a_server_that_is_killed_and_comes_back_is_found_again(
    site: Site, login: Login, job: Running, tmp_path: Path, open_page: Any
) -> None:
    """The page says that the connection is lost, and shows what happened meanwhile once there is a server."""
    web = Web(tmp_path, site.env, name="second").start()
    try:
        page = open_page(web, login, job.page)
        moves(page)
        web.kill()
        shows(page, LOST, 10)
        job.end()
        web.start()
        shows(page, "done", HEALS)
    finally:
        web.kill()


# --- Where WebSockets do not work ----------------------------------------------------------------------------

NO_UPGRADE = {"~^/ws/ $http_upgrade;": '~^/ws/ "";'}
NO_EVENTS = {"proxy_next_upstream off;": "proxy_next_upstream off;\nif ($http_accept ~ event-stream) { return 403; }"}


class Obstacle(Nginx):
    """nginx with the shipped file, but for some lines."""

    def __init__(self, folder: Path, site: Site, changes: Mapping[str, str]) -> None:
        super().__init__(folder, site)
        self.changes = changes

    def command(self) -> list[str]:
        command = list(super().command())
        file = self.folder / "nginx.conf"
        text = rendered(self.folder, self.port, self.site.web.port, self.site.data)
        for shipped, here in self.changes.items():
            assert text.count(shipped) == 1, f"nginx.conf has no {shipped}"
            text = text.replace(shipped, here)
        file.write_text(text)
        return command


@pytest.fixture
def behind(site: Site, tmp_path: Path) -> Iterator[Any]:
    """Starts an nginx that stands in the way: ``behind(NO_UPGRADE)``."""
    servers = []

    def start(*changes: Mapping[str, str]) -> Obstacle:
        merged = {shipped: here for each in changes for shipped, here in each.items()}
        servers.append(Obstacle(tmp_path / "nginx", site, merged))
        return servers[-1].start()

    yield start
    for server in servers:
        server.stop()


@pytest.mark.needs_nginx
def test_without_websockets_the_page_is_live_by_server_sent_events_and_goes_back(
    behind: Any, login: Login, job: Running, site: Site, tmp_path: Path, open_page: Any
) -> None:
    """An nginx without upgrade headers: the bar moves and ends all the same; mended, the WebSocket is used again."""
    nginx = behind(NO_UPGRADE)
    page = open_page(nginx, login, job.page)
    becomes(page, 30, state="live", transport="sse")
    moves(page)
    job.end()
    shows(page, "done", BEHIND)
    another = Running(login, tmp_path).begun()
    try:
        page.goto(nginx.url + another.page)
        becomes(page, 30, state="live", transport="sse")
        nginx.changes = {}
        nginx.restart()
        becomes(page, 30, state="live", transport="websocket")
        moves(page)
    finally:
        another.end()
    shows(page, "done", BEHIND)


@pytest.mark.needs_nginx
def test_without_streams_the_page_is_live_by_asking(behind: Any, login: Login, job: Running, open_page: Any) -> None:
    """An nginx that refuses server-sent events too: the bar moves, and ends within seconds."""
    page = open_page(behind(NO_UPGRADE, NO_EVENTS), login, job.page)
    becomes(page, 30, state="live", transport="polling")
    moves(page)
    job.end()
    shows(page, "done", BEHIND)


def test_a_stream_that_a_proxy_holds_back_is_given_up(
    line_to: LineTo, site: Site, login: Login, job: Running, open_page: Any
) -> None:
    """A proxy that passes a stream on when it has ended: nothing comes, so the page asks instead."""
    page = open_page(line_to(site, gateway=True, events="held"), login, job.page)
    becomes(page, 30, state="live", transport="polling")
    moves(page)
    job.end()
    shows(page, "done", BEHIND)


def test_a_gateway_that_speaks_an_older_http_is_enough(
    line_to: LineTo, site: Site, login: Login, job: Running, open_page: Any
) -> None:
    """HTTP/1.0, one request for each connection: no WebSocket comes about, and the page is right."""
    line = line_to(site, gateway=True)
    page = open_page(line, login, job.page)
    becomes(page, 30, state="live", transport="sse")
    moves(page)
    job.end()
    shows(page, "done", BEHIND)
    assert line.count["websockets"] == 0


# --- A train -------------------------------------------------------------------------------------------------


def test_a_short_ride_through_two_tunnels(
    line_to: LineTo, site: Site, login: Login, tmp_path: Path, open_page: Any
) -> None:
    """300 ms, and two cuts of 5 s: what ended in a tunnel is shown soon after it, and nothing is said to have failed.

    The ride of five minutes, with cuts of 20 s, is `make e2e-long`.
    """
    ride = Ride(login, tmp_path, tunnels=2)
    ride.go(line_to(site, delay=ROUND_TRIP / 2), open_page, light=4, dark=5)
    ride.judge()
