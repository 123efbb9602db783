"""How a Redis is written: as a URL, or in one of the forms that a channel layer takes for its hosts. Pure, no I/O.

A URL is one of

- ``redis://user:password@host:port/db``, and ``rediss://`` for TLS
- ``unix://user:password@/path/to/socket?db=0``
- ``redis+sentinel://user:password@sentinel1:port,sentinel2:port/master/db``, and ``rediss+sentinel://`` for TLS to
  the master. What the Sentinels themselves want is in the query: ``sentinel_username``, ``sentinel_password``,
  ``sentinel_ssl=true``, ``sentinel_ssl_ca_certs``, …

In a user name and a password everything but letters and digits is percent-encoded, as in every URL.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Mapping
from typing import Any, Final
from urllib.parse import quote, unquote, urlencode, urlsplit

from .exceptions import ProgressError

SINGLE: Final = ("redis", "rediss", "unix")
SENTINEL: Final = ("redis+sentinel", "rediss+sentinel")
LOCAL: Final = "redis://localhost:6379"  # what a channel layer takes when no host is named
# These decide whom one talks to, and no URL can say them.
UNSPEAKABLE: Final = ("credential_provider", "redis_connect_func", "ssl_context")


def of_hosts(hosts: Any) -> str:
    """The URL of the first of a channel layer's hosts, in any form that channels_redis takes.

    The same server, user, password, database and certificates; time-outs and the like are the layer's own matter.
    Raises `ProgressError` when a URL cannot say it.
    """
    if not hosts:
        return LOCAL
    if isinstance(hosts, (str, bytes)):
        raise ProgressError("the channel layer's hosts must be a list, even if there is only one")
    host = next(iter(hosts))
    if isinstance(host, (tuple, list)):
        host = {"host": host[0], "port": host[1]}
    return _of_mapping(host) if isinstance(host, Mapping) else str(host)


def check(url: str) -> None:
    """Raise `ProgressError` unless `url` has one of the forms above. The message shows no password."""
    try:
        parts = urlsplit(url)
        if parts.scheme in SENTINEL:
            sentinels(url)
        elif parts.scheme not in SINGLE:
            raise ProgressError(f"the scheme must be one of {', '.join((*SINGLE, *SENTINEL))}; got {parts.scheme!r}")
        elif parts.scheme == "unix" and not parts.path:
            raise ProgressError("unix:// needs the path of a socket: unix:///path/to/socket")
        elif parts.scheme != "unix":
            _ = parts.port  # what is no number is a part of a password, most often
            _database(parts.path)
    except ValueError:
        raise ProgressError(
            "it is no URL; expected redis://user:password@host:port/db. "
            "Percent-encode the password: urllib.parse.quote(password, safe='')"
        ) from None


def sentinels(url: str) -> tuple[list[tuple[str, int]], str, int]:
    """Addresses of the Sentinels, name of the master and database of a ``redis+sentinel://`` URL."""
    parts = urlsplit(url)
    names = parts.netloc.rpartition("@")[2]
    found = [urlsplit(f"//{name}") for name in names.split(",")]
    master, _, database = parts.path.strip("/").partition("/")
    if not master or not all(each.hostname for each in found):
        raise ProgressError(f"expected {parts.scheme}://sentinel1:26379,sentinel2:26379/master_name/0")
    return [(str(each.hostname), each.port or 26379) for each in found], unquote(master), _database(database)


def shown(url: str) -> str:
    """`url` for people: without user, password and query."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _database(path: str) -> int:
    return int(path.strip("/") or 0)


# --- What channels_redis takes -----------------------------------------------------------------------------


def _of_mapping(host: Mapping[str, Any]) -> str:
    if unspeakable := [name for name in UNSPEAKABLE if host.get(name) is not None]:
        raise ProgressError(f"the channel layer's host has {unspeakable[0]}, which no URL can say; set one yourself")
    address = host.get("address")
    if isinstance(address, (tuple, list)):
        return _of_mapping({**host, "address": None, "host": address[0], "port": address[1]})
    if address:
        return _completed(str(address), host)
    if host.get("master_name"):
        return _of_sentinel(host)
    if path := host.get("path"):
        return f"unix://{_login(host)}{quote(str(path))}{_query(_database_of(host), _certificates(host))}"
    scheme = "rediss" if host.get("ssl") or _is_encrypted(host.get("connection_class")) else "redis"
    server = _server(host.get("host", "localhost"), host.get("port", 6379))
    database = "".join(f"/{number}" for number in _database_of(host).values())
    return f"{scheme}://{_login(host)}{server}{database}{_query(_certificates(host))}"


def _completed(url: str, host: Mapping[str, Any]) -> str:
    """An address with what stands beside it. As in redis-py, what the address says itself counts more."""
    parts = urlsplit(url)
    own, _, server = parts.netloc.rpartition("@")
    name, _, secret = own.partition(":")
    # An encoded part stays as it is; quoting it once more would change it.
    login = _written(name or _quoted(host.get("username")), secret or _quoted(host.get("password")))
    beside = _certificates(host)
    said = {pair.partition("=")[0] for pair in parts.query.split("&")}
    if "db" not in said and not (parts.scheme != "unix" and parts.path.strip("/")):
        beside |= _database_of(host)
    extra = urlencode({key: value for key, value in beside.items() if key not in said})
    query = "&".join(filter(None, (parts.query, extra)))
    return f"{parts.scheme}://{login}{server}{parts.path}{'?' * bool(query)}{query}"


def _of_sentinel(host: Mapping[str, Any]) -> str:
    places = ",".join(_server(*place) for place in host["sentinels"])
    own = host.get("sentinel_kwargs") or {}
    options = {f"sentinel_{name}": own[name] for name in ("username", "password") if own.get(name)}
    options |= {f"sentinel_{name}": value for name, value in _certificates(own).items()}
    if own.get("ssl"):
        options["sentinel_ssl"] = "true"
    scheme = "rediss+sentinel" if host.get("ssl") or _is_encrypted(host.get("connection_class")) else "redis+sentinel"
    path = "/".join([quote(str(host["master_name"]), safe=""), *map(str, _database_of(host).values())])
    return f"{scheme}://{_login(host)}{places}/{path}{_query(_certificates(host), options)}"


def _login(host: Mapping[str, Any]) -> str:
    return _written(_quoted(host.get("username")), _quoted(host.get("password")))


def _written(name: str, secret: str) -> str:
    if not name and not secret:
        return ""
    return f"{name}:{secret}@" if secret else f"{name}@"


def _quoted(value: Any) -> str:
    text = value.decode() if isinstance(value, bytes) else str(value or "")
    return quote(text, safe="")


def _server(name: Any, port: Any) -> str:
    return f"[{name}]:{port}" if ":" in str(name) else f"{name}:{port}"


def _database_of(host: Mapping[str, Any]) -> dict[str, str]:
    return {} if host.get("db") is None else {"db": str(int(host["db"]))}


def _is_encrypted(connection_class: Any) -> bool:
    return any("SSL" in base.__name__ for base in getattr(connection_class, "__mro__", ()))


def _certificates(host: Mapping[str, Any]) -> dict[str, str]:
    """The options of TLS, as redis-py reads them from a query."""
    found = {}
    for name, value in host.items():
        # redis-py reads no "False" from a query but that of the host name: any other would be true.
        if name.startswith("ssl_") and value is not None and (value is not False or name == "ssl_check_hostname"):
            found[name] = _as_text(value)
    return found


def _as_text(value: Any) -> str:
    if isinstance(value, ssl.VerifyMode):
        return value.name.removeprefix("CERT_").lower()
    if isinstance(value, int) and not isinstance(value, bool):
        return str(int(value))  # an enumeration's number
    if isinstance(value, Iterable) and not isinstance(value, str):
        return ",".join(getattr(flag, "name", str(flag)) for flag in value)
    return str(value)


def _query(*options: Mapping[str, str]) -> str:
    together = {key: value for each in options for key, value in each.items()}
    return f"?{urlencode(together)}" if together else ""
