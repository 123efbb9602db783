"""`compose.yaml` and the Dockerfile: valid by the Compose specification, and what a deployment expects of them."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from compose_spec import PyCompose

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "compose.yaml").read_text()
DOCKERFILE = (ROOT / "Dockerfile").read_text()


def interpolated(text: str, env: dict[str, str]) -> str:
    """`text` as Compose reads it: variables filled in, ``$$`` a dollar sign. Raises KeyError for a missing one."""

    def value(match: re.Match[str]) -> str:
        if match["escaped"]:
            return "$"
        found = env.get(match["name"], "")
        if not found and match["operator"] == ":?":
            raise KeyError(match["name"])
        return found or (match["rest"] if match["operator"] == ":-" else "")

    pattern = r"(?P<escaped>\$\$)|\$\{(?P<name>[A-Z_]+)(?:(?P<operator>:[-?])(?P<rest>[^}]*))?\}"
    return re.sub(pattern, value, text)


@pytest.fixture
def text() -> str:
    return interpolated(TEXT, {"SECRET_KEY": "secret"})


@pytest.fixture
def services(text: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(text)["services"]
    return found


def test_the_file_is_valid_by_the_compose_specification(text):
    """A strict reader of the specification accepts it, and every volume it names is declared."""
    parsed = PyCompose.from_yaml(yaml.safe_dump(yaml.safe_load(text), sort_keys=False))
    parsed.validate()
    assert parsed.service_names() == ["redis", "web", "worker"]


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("healthcheck:", "healthchek:"),
        ("interval: 5s", "interval: five"),
        ("condition: service_healthy", "condition: healthy"),
        ("- data:/data", "- date:/data"),
        (":8000:8000", ":8000:eighty"),
    ],
)
def test_a_mistake_in_the_file_is_noticed(text, right, wrong):
    """The check above can fail: misspelt keys, values and volumes are refused."""
    assert right in text
    broken = yaml.safe_dump(yaml.safe_load(text.replace(right, wrong)), sort_keys=False)
    with pytest.raises(ValueError, match=r"."):
        PyCompose.from_yaml(broken).validate()


def test_one_service_per_process_in_the_order_of_the_flow(services):
    """Redis, then web, then worker; each starts when the one before it is healthy."""
    assert list(services) == ["redis", "web", "worker"]
    assert "depends_on" not in services["redis"]
    assert services["web"]["depends_on"] == {"redis": {"condition": "service_healthy"}}
    assert services["worker"]["depends_on"] == {
        "redis": {"condition": "service_healthy"},
        "web": {"condition": "service_healthy"},
    }


def test_every_service_is_checked_for_its_own_work(services):
    """Redis answers a ping, web a page, and the worker of that very container a Celery ping."""
    checks = {name: " ".join(service["healthcheck"]["test"]) for name, service in services.items()}
    assert "redis-cli ping" in checks["redis"]
    assert "http://127.0.0.1:8000/healthz" in checks["web"]
    assert "celery -A celery_worker inspect ping" in checks["worker"]
    assert "celery@$HOSTNAME" in checks["worker"]


def test_the_commands_are_those_of_make_run(services):
    """Web is Daphne with the project's application, the worker is the Celery worker of `celery_worker.py`."""
    from project import run

    place = run.Place("0.0.0.0", 8000, Path("/data"))
    here = run.commands(place, prefix="", redis=None)
    assert " ".join(services["web"]["command"]).endswith("exec " + " ".join(here["web"][2:]))
    options = here["worker"][2:]
    assert services["worker"]["command"] == [part for part in options if not part.startswith("--hostname")]


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "::1", "[::1]", "localhost"])
def test_a_crowd_finds_the_door_open(host):
    """As Daphne comes, 50 may wait at its door, and whom it has not let in after 5 s it refuses."""
    from daphne.cli import CommandLineInterface
    from twisted.internet.endpoints import serverFromString

    from project import run

    web = run.commands(run.Place(host, 8000, Path("/data")), prefix="", redis=None)["web"]
    asked = CommandLineInterface().parser.parse_args(web[3:])
    (address,) = asked.socket_strings
    endpoint = serverFromString(None, address)
    assert (endpoint._port, endpoint._interface, endpoint._backlog) == (8000, host.strip("[]"), 4096)
    assert asked.websocket_connect_timeout == 60


def test_nothing_runs_as_root():
    """The image ends as a user of its own, and Redis is told to be its own."""
    user = re.findall(r"^USER (\S+)$", DOCKERFILE, re.MULTILINE)[-1]
    assert user not in ("root", "0")
    assert f"useradd --system --uid 10001 --create-home {user}" in DOCKERFILE
    assert yaml.safe_load(TEXT)["services"]["redis"]["user"] == "redis"


def test_the_secret_comes_from_outside_and_is_not_optional():
    """Without SECRET_KEY nothing starts; no default for it is in the file."""
    with pytest.raises(KeyError, match="SECRET_KEY"):
        interpolated(TEXT, {})


def test_images_have_versions():
    """No image is whatever is newest on the day of the build."""
    images = [
        *re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE),
        yaml.safe_load(TEXT)["services"]["redis"]["image"],
    ]
    assert all(re.search(r":\d+\.\d+", image) for image in images), images


def test_the_image_installs_from_the_lock_with_hashes():
    """The image has the very versions of the lock."""
    assert re.search(r"pip install .*--require-hashes --requirement requirements\.txt", DOCKERFILE)


def test_the_image_holds_all_that_is_copied():
    """What the Dockerfile copies is there, and `.dockerignore` lets it in."""
    copied = re.findall(r"^COPY (.+) \S+$", DOCKERFILE, re.MULTILINE)
    names = [name for line in copied for name in line.split()]
    allowed = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    assert sorted(names) == sorted(allowed)
    assert all((ROOT / name).exists() for name in names)
