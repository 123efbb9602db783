"""nginx with its module nchan, as a fan-out server: one channel, published to by HTTP, heard by WebSockets."""

from __future__ import annotations

import http.client
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from bench.rig import Rig, cpu_of, memory_of
from bench.servers import Measured

CONFIG: Final = """
{user}
load_module {module};
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/nginx-error.log warn;
events {{ worker_connections 30000; }}
http {{
    access_log off;
    keepalive_requests 1000000;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port};
        location = /publish {{ nchan_publisher; nchan_channel_id task; nchan_message_buffer_length 1; }}
        location = /watch {{ nchan_subscriber websocket; nchan_channel_id task; }}
    }}
}}
"""


class Nchan(Measured):
    """nginx with one worker process, whose CPU and memory are told: the master only waits.

    It keeps the newest message for who comes late, as our server does.
    """

    def __init__(self, rig: Rig) -> None:
        super().__init__(rig.folder / "nchan", rig.env, name="nginx")
        self._publisher = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)

    def command(self) -> Sequence[str]:
        """How it is started; its configuration is written into its folder."""
        program, module = found() or ("nginx", "")
        config = self.folder / "nginx.conf"
        user = "user root;" if os.geteuid() == 0 else ""  # else its worker could not write into this folder
        config.write_text(CONFIG.format(user=user, module=module, folder=self.folder, port=self.port))
        return [program, "-p", str(self.folder), "-c", str(config), "-e", str(self.folder / "nginx-error.log")]

    def is_ready(self) -> bool:
        """The master listens before its worker is there."""
        return super().is_ready() and bool(self._children())

    @property
    def cpu(self) -> float:
        """Seconds of CPU of the worker process."""
        return cpu_of(self._children()[0])

    @property
    def memory(self) -> int:
        """Bytes that the worker process has for itself."""
        return memory_of(self._children()[0])

    def publish(self, text: str) -> None:
        """Send to all watchers, through a connection that is kept. Raises `RuntimeError`."""
        self._publisher.request("POST", "/publish", text.encode(), {"Content-Type": "text/plain"})
        with self._publisher.getresponse() as answer:
            answer.read()
            if answer.status not in {200, 201, 202}:
                raise RuntimeError(f"nchan answered {answer.status} to a message.")

    def kill(self) -> None:
        """End it, and the connection that publishes."""
        self._publisher.close()
        super().kill()

    def _children(self) -> list[int]:
        return [int(pid) for pid in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()]


def found() -> tuple[str, Path] | None:
    """Paths of nginx and of its module nchan; None if either is not installed."""
    program = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None:
        return None
    told = subprocess.run([program, "-V"], capture_output=True, text=True, check=False).stderr
    folder = re.search(r"--modules-path=(\S+)", told)
    module = Path(folder[1] if folder else "/usr/lib/nginx/modules") / "ngx_nchan_module.so"
    return (program, module) if module.exists() else None
