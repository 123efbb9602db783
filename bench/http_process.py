"""The load client over HTTP: many browsers that poll an address, or listen to events that it sends, in one process.

`python -m bench.http_process poll|listen HOST PORT PATH BROWSERS` says on standard output what it has counted, as a
line of JSON: first when every browser has had an answer, and again when its standard input ends.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import sys

INTERVAL = 0.5  # seconds from an answer to the next question, as celery-progress's script has it
CURRENT = re.compile(rb'"current": ?(\d+)')
LENGTH = re.compile(rb"content-length: ?(\d+)", re.IGNORECASE)
# What a browser says with every request to a site where somebody is logged in.
HEADERS = """\
Connection: keep-alive
User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36
Accept: {accept}
Accept-Encoding: gzip, deflate, br
Accept-Language: en-GB,en;q=0.9
Sec-Fetch-Dest: empty
Sec-Fetch-Mode: cors
Sec-Fetch-Site: same-origin
Referer: http://{host}/
"""


class Browser:
    """One connection that is kept. It knows each step that it was shown."""

    def __init__(self, host: str, port: int, path: str, accept: str) -> None:
        self.host, self.port = host, port
        headers = HEADERS.format(accept=accept, host=f"{host}:{port}")
        lines = f"GET {path} HTTP/1.1\nHost: {host}:{port}\n{headers}\n"
        self.question = lines.replace("\n", "\r\n").encode()
        self.requests = self.sent = self.received = 0
        self.seen: set[int] = set()
        self.answered = asyncio.Event()

    async def poll(self) -> None:
        """Ask, wait, ask again."""
        await asyncio.sleep(random.uniform(0, INTERVAL))
        reader, writer = await asyncio.open_connection(self.host, self.port)
        try:
            while True:
                self._ask(writer)
                head = await reader.readuntil(b"\r\n\r\n")
                found = LENGTH.search(head)
                if found is None or not head.startswith(b"HTTP/1.1 200"):
                    raise RuntimeError(f"Expected 200 with a length, got {head!r}.")
                body = await reader.readexactly(int(found[1]))
                self._heard(len(head), body)
                await asyncio.sleep(INTERVAL)
        finally:
            writer.close()

    async def listen(self) -> None:
        """Ask once and hear what comes."""
        reader, writer = await asyncio.open_connection(self.host, self.port)
        try:
            self._ask(writer)
            head = await reader.readuntil(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 200"):
                raise RuntimeError(f"Expected 200, got {head!r}.")
            self.received += len(head)
            while line := await reader.readline():
                self._heard(0, line)
        finally:
            writer.close()
        raise RuntimeError("The server ended the stream.")

    def _ask(self, writer: asyncio.StreamWriter) -> None:
        writer.write(self.question)
        self.requests += 1
        self.sent += len(self.question)

    def _heard(self, head: int, body: bytes) -> None:
        self.received += head + len(body)
        self.seen.update(int(number) for number in CURRENT.findall(body))
        self.answered.set()


def count(browsers: list[Browser]) -> dict[str, int]:
    """All browsers together; `newest` is of the one that is farthest behind."""
    return {
        "requests": sum(browser.requests for browser in browsers),
        "bytes": sum(browser.sent + browser.received for browser in browsers),
        "shown": sum(len(browser.seen) for browser in browsers),
        "newest": min(max(browser.seen, default=-1) for browser in browsers),
    }


async def main(how: str, host: str, port: str, path: str, number: str) -> None:
    """Ends with the first browser that fails, or when standard input does."""
    accept = "text/event-stream" if how == "listen" else "*/*"
    browsers = [Browser(host, int(port), path, accept) for _ in range(int(number))]

    async def run() -> None:
        async with asyncio.TaskGroup() as group:
            for browser in browsers:
                group.create_task(browser.poll() if how == "poll" else browser.listen())

    running = asyncio.create_task(run())
    told = asyncio.create_task(_tell(browsers))
    await asyncio.wait([running, told], return_when=asyncio.FIRST_COMPLETED)
    for task in (running, told):
        if task.done():
            task.result()
        task.cancel()


async def _tell(browsers: list[Browser]) -> None:
    asked = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(asked), sys.stdin)
    await asyncio.gather(*(browser.answered.wait() for browser in browsers))
    print(json.dumps(count(browsers)), flush=True)
    await asked.read()
    print(json.dumps(count(browsers)), flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
