"""Which program serves as Redis: the first new enough one on PATH, else the bundled one, else a clear error."""

from pathlib import Path

import pytest

from project import redis_server
from project.redis_server import NoRedis, RedisProgram, find_redis


@pytest.fixture
def on_path(tmp_path, monkeypatch):
    """Put programs on an otherwise empty PATH: ``on_path("redis-server", "Redis server v=7.0.15")``."""
    monkeypatch.setenv("PATH", str(tmp_path))

    def put(name: str, answer: str) -> Path:
        program = tmp_path / name
        program.write_text(f"#!/bin/sh\necho '{answer}'\n")
        program.chmod(0o755)
        return program

    return put


@pytest.fixture
def no_bundled(monkeypatch):
    monkeypatch.setattr(redis_server, "_bundled", lambda: None)


@pytest.mark.parametrize(
    ("name", "answer", "expected"),
    [
        ("redis-server", "Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.2.1 bits=64", ("redis", (7, 0, 15))),
        ("redis-server", "Redis server v=6.2.0 sha=00000000:0 malloc=libc bits=64", ("redis", (6, 2, 0))),
        ("valkey-server", "Valkey server v=8.1.1 sha=00000000:1 malloc=libc bits=64", ("valkey", (8, 1, 1))),
        # A distribution's redis-server may be a Valkey.
        ("redis-server", "Valkey server v=9.1.2 sha=00000000:1 malloc=libc bits=64", ("valkey", (9, 1, 2))),
    ],
)
def test_a_new_enough_program_on_path_is_taken(on_path, name, answer, expected):
    """Redis or Valkey of 6.2 or later on PATH comes first."""
    program = on_path(name, answer)
    kind, version = expected
    assert find_redis() == RedisProgram(program, kind, version)


@pytest.mark.parametrize("answer", ["Redis server v=6.0.16 sha=0", "Redis server v=5.0.14 sha=0", "what?"])
def test_what_is_too_old_or_unknown_is_passed_over(on_path, answer):
    """An old or unreadable redis-server does not hide the bundled one, which really is a server."""
    old = on_path("redis-server", answer)
    found = find_redis()
    assert found.path != old
    assert found.version >= (6, 2)


def test_without_any_the_error_says_what_to_install(on_path, no_bundled):
    """No program at all: expected, found, what to do."""
    with pytest.raises(NoRedis) as caught:
        find_redis()
    assert "version 6.2 or later; found none" in str(caught.value)
    assert "apt install redis-server" in str(caught.value)
    assert "REDIS_URL=" in str(caught.value)


def test_with_old_ones_only_the_error_names_them(on_path, no_bundled):
    """What was found and why it will not do is part of the message."""
    program = on_path("redis-server", "Redis server v=6.0.16 sha=0")
    with pytest.raises(NoRedis, match=r"found only .*redis-server \(redis 6\.0\.16\)") as caught:
        find_redis()
    assert str(program) in str(caught.value)


def test_a_folder_with_spaces_is_a_folder(tmp_path):
    """Paths are quoted in the configuration."""
    program = RedisProgram(Path("redis-server"), "redis", (7, 0))
    text = program.config(port=6400, folder=tmp_path / "my data", password="secret", keep=True)
    assert f'dir "{tmp_path}/my data"\n' in text
    assert "bind 127.0.0.1\n" in text
    assert "requirepass secret\n" in text
    assert "appendonly yes\n" in text
