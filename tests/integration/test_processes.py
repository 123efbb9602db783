"""The servers that the tests rely on: they start, they are reachable, they can be killed, they leave nothing."""

import http.client
from contextlib import closing

import pytest
import redis

from progress.store import get_store
from tasks.tasks import countdown
from tests.postgres import Postgres
from tests.processes import Site, group_exists, is_running, listening, wait_until


def test_redis_is_new_enough_for_what_is_promised(redis_url):
    """The Redis of the tests is 6.2 or later."""
    with redis.Redis.from_url(redis_url) as client:
        version = tuple(int(part) for part in client.info("server")["redis_version"].split("."))
    assert version >= (6, 2)


def test_every_test_finds_an_empty_redis(redis_url):
    """Nothing that an earlier test stored is seen by a later one."""
    with redis.Redis.from_url(redis_url) as client:
        assert client.dbsize() == 0


def test_a_task_sent_by_the_test_is_run_by_the_site(site):
    """A test sends a task in its own process, the site's worker runs it, the test reads the same record."""
    task_id = countdown.delay(seconds=0, steps=2).id
    record = wait_until(lambda: (found := get_store().load(task_id)) and found.ended and found, 20, "an end")
    assert record.state == "SUCCESS"


def test_a_user_of_a_site_is_logged_in(site):
    """The cookie of `Site.user` opens pages that need a login; without it they lead to the login page."""
    login = site.user()
    status = []
    for headers in ({}, {"Cookie": login.cookie}):
        connection = http.client.HTTPConnection("127.0.0.1", site.web.port, timeout=10)
        connection.request("GET", "/", headers=headers)
        status.append(connection.getresponse().status)
        connection.close()
    assert status == [302, 200]


def test_a_killed_site_leaves_nothing_behind(tmp_path):
    """After `stop` no process of its groups and no listening port is left."""
    site = Site(tmp_path / "site").start()
    pids, ports = [site.redis.pid, site.worker.pid, site.web.pid], [site.redis.port, site.web.port]
    site.stop()
    assert not [pid for pid in pids if group_exists(pid)]
    assert not [port for port in ports if listening(port)]


def test_a_redis_that_keeps_its_data_has_it_after_a_kill(tmp_path):
    """With `keep_redis`, what was stored more than a second ago outlives SIGKILL."""
    own = Site(tmp_path / "site", keep_redis=True).redis.start()
    try:
        with own.client() as client:
            client.set("kept", "yes")
            wait_until(lambda: client.info("persistence")["aof_pending_bio_fsync"] == 0, 5, "it is on disk")
        own.kill()
        own.start()
        with own.client() as client:
            assert client.get("kept") == b"yes"
    finally:
        own.kill()


@pytest.mark.needs_postgres
def test_postgresql_keeps_what_was_committed_when_it_falls_and_leaves_nothing_in_the_end(tmp_path):
    """Killed and started again it knows its rows; discarded it leaves no process and no file."""
    server = Postgres(tmp_path)
    try:
        server.start()
        with closing(server.connect()) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 17 AS number")
            server.kill()
        assert not group_exists(server.pid)
        server.start()
        assert server.ask("SELECT number FROM kept") == [{"number": 17}]
        pids = [each["pid"] for each in server.ask("SELECT pid FROM pg_stat_activity")]
    finally:
        server.discard()
    assert len(pids) > 1
    wait_until(lambda: not any(map(is_running, pids)), 10, "all of its processes have ended")
    assert not server.data.exists()
