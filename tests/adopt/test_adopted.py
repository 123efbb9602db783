"""After the README's five lines: a stranger's site shows its tasks live, to those who may see them."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.processes import wait_until

from .adopting import five_lines
from .redis_of import records
from .shop import PASSWORD, PEOPLE, Shop


@pytest.fixture
def complaints() -> list[str]:
    """What pages complained of."""
    return []


@pytest.fixture
def page(browser: Any, complaints: list[str]) -> Iterator[Any]:
    """A page in a browser of its own, without cookies."""
    context = browser.new_context()
    context.set_default_timeout(20_000)
    page = context.new_page()
    page.on("pageerror", lambda error: complaints.append(str(error)))
    yield page
    context.close()


def moves_and_ends(page: Any, rows: int) -> None:
    """The bar of the page is seen on its way, and at its end."""
    current = "document.querySelector('task-progress')?.snapshot?.current"
    page.wait_for_function(f"0 < {current} && {current} < {rows}")
    bar = page.locator("task-progress")
    expect(bar).to_contain_text(f"{rows} of {rows} rows", timeout=30_000)
    expect(bar).to_contain_text("done")


def test_the_readme_has_five_lines() -> None:
    """Five lines of Python in three files that a site has; nothing else is needed."""
    lines = five_lines()
    assert sorted(lines) == ["asgi.py", "settings.py", "urls.py"]
    assert sum(map(len, lines.values())) == 5


def test_nothing_is_missing_and_every_link_holds(shop: Shop) -> None:
    """No check complains, no migration is missing, and the doctor is content: core layer, ACL user, odd password."""
    assert "no issues" in shop.manage("check", "--fail-level", "WARNING")
    assert "No changes" in shop.manage("makemigrations", "--check")
    said = shop.manage("progress_doctor", "--wait", "30")
    assert said.count("✓") == len(said.splitlines()), said


def test_a_jwt_user_watches_an_own_task_live_in_a_browser(shop: Shop, page: Any, complaints: list[str]) -> None:
    """A single-page client below a script name and a language: token by API, live bar by socket, to its end."""
    sockets: list[str] = []
    page.on("websocket", lambda socket: sockets.append(socket.url))
    page.goto(f"{shop.url}/de/app/")
    page.fill("[name=username]", "ann")
    page.fill("[name=password]", PASSWORD)
    page.click("text=Export")
    moves_and_ends(page, 40)
    assert sockets == [f"{shop.url.replace('http', 'ws', 1)}/ws/progress/"]
    assert page.context.cookies() == []
    assert complaints == []


def test_a_page_of_the_site_shows_a_task_by_the_tag(shop: Shop, page: Any, complaints: list[str]) -> None:
    """The README's HTML in a page under `i18n_patterns`, with a session: it is rendered, then live."""
    page.goto(f"{shop.url}/en/login/")
    page.fill("[name=username]", "bob")
    page.fill("[name=password]", PASSWORD)
    page.click("text=Log in")
    page.wait_for_url(f"{shop.url}/en/")
    page.fill("[name=rows]", "30")
    page.click("text=Export")
    moves_and_ends(page, 30)
    assert complaints == []


def test_whoever_sent_it_owns_it(shop: Shop) -> None:
    """A user whom only the view has found, by a JWT, after the transaction: the owner is that user's UUID."""
    run = shop.export("ann")
    with shop.socket() as socket:
        socket.say(type="watch", ids=[run["id"]], token=run["token"])
        snapshots = socket.end_of(run["id"])
    assert [snapshots[-1]["state"], snapshots[-1]["title"]] == ["SUCCESS", "Export orders"]
    assert records(shop, [run["id"]])[0]["owner"] == str(PEOPLE["ann"])


def known(shop: Shop, run: dict[str, Any]) -> dict[str, Any]:
    """What the shop tells of a run; should Redis have been late when it was sent, not before it runs."""
    path = f"/progress/{run['id']}/"
    wait_until(lambda: shop.ask(path, bearer=run["token"]).status == 200, 20, "the run is known")
    return dict(shop.ask(path, bearer=run["token"]).json)


def test_nobody_else_sees_it(shop: Shop) -> None:
    """Another user's token, a JWT instead of a token, and nothing at all: 404, refused, 4404, as for no such task."""
    run, other = shop.export("ann"), shop.export("bob")
    path, missing = f"/progress/{run['id']}/", f"/progress/{uuid.uuid4()}/"
    assert known(shop, run)["id"] == run["id"]
    nothing = shop.ask(missing, bearer=other["token"])
    for bearer in (other["token"], shop.jwt("bob"), ""):
        answer = shop.ask(path, bearer=bearer)
        assert (answer.status, answer.body) == (404, nothing.body)
    with shop.socket() as socket:
        socket.say(type="watch", ids=[run["id"]], token=other["token"])
        refused = socket.until("refused")
        assert (refused["ids"], refused["code"]) == ([run["id"]], "not_found")
    with shop.socket(f"/ws/progress/{run['id']}/") as socket:
        socket.say(type="token", token=other["token"])
        assert socket.close_code() == 4404


def test_two_environments_in_one_redis_are_strangers(shop: Shop, staging: Shop) -> None:
    """Equal task ids, users and database numbers in one Redis: each sees its own, and a stranger's is nothing."""
    task_id = str(uuid.uuid4())
    with shop.socket() as one, staging.socket() as two:
        here = shop.export("ann", id=task_id, of="here", rows=60, pause=0.1)
        there = staging.export("ann", id=task_id, of="there", rows=60, pause=0.1)
        one.say(type="watch", ids=[task_id], token=here["token"])
        two.say(type="watch", ids=[task_id], token=there["token"])
        seen = {"here": one.end_of(task_id), "there": two.end_of(task_id)}
    assert here["socket"] == there["socket"] == "/shop/ws/progress/"
    for name, snapshots in seen.items():
        assert {snapshot["title"] for snapshot in snapshots} == {f"Export {name}"}
        assert len(snapshots) > 2
        assert snapshots[-1]["state"] == "SUCCESS"
    only_here = shop.export("ann")
    assert known(shop, only_here)["id"] == only_here["id"]
    assert staging.ask(f"/progress/{only_here['id']}/", bearer=only_here["token"]).status == 404
