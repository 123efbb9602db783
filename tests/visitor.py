"""Somebody who uses the pages of a site without a browser: reads them, sends their forms, saves their files."""

from __future__ import annotations

import re
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import urlencode

from .processes import Login, Site

_HIDDEN = re.compile(r'<input type="hidden" name="(?P<name>\w+)" value="(?P<value>[^"]*)"')


class Page(NamedTuple):
    """What a site answered."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()


class _AsTheyAre(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_args: Any) -> None:
        """No redirect is followed."""


class Visitor:
    """A user of `site` with an open session."""

    def __init__(self, site: Site, login: Login) -> None:
        self._site, self._login = site, login
        self._csrf = "0" * 32
        self._opener = urllib.request.build_opener(_AsTheyAre)

    def get(self, path: str) -> Page:
        """The page at `path`."""
        return self._ask(urllib.request.Request(self._site.url + path))

    def post(self, path: str, **fields: Any) -> Page:
        """Send a form to `path`, with the token that a page would have."""
        data = urlencode({"csrfmiddlewaretoken": self._csrf, **fields}).encode()
        return self._ask(urllib.request.Request(self._site.url + path, data))

    def start(self, job: str, **fields: Any) -> str:
        """Send the form of a job as the home page has it, with these fields; the answer is the task's id."""
        form = self.get("/").text.partition(f'action="/start/{job}/"')[2].partition("</form>")[0]
        hidden = {found["name"]: found["value"] for found in _HIDDEN.finditer(form)}
        answer = self.post(f"/start/{job}/", once=hidden["once"], **fields)
        assert answer.status == 302, answer.text
        return answer.headers["Location"].removeprefix("/runs/").removesuffix("/")

    def _ask(self, request: urllib.request.Request) -> Page:
        request.add_header("Cookie", f"{self._login.cookie}; csrftoken={self._csrf}")
        try:
            with self._opener.open(request, timeout=20) as answer:
                return Page(answer.status, answer.headers, answer.read())
        except urllib.error.HTTPError as answer:
            with answer:
                return Page(answer.code, answer.headers, answer.read())
