"""What it was measured on, and with which versions."""

from __future__ import annotations

import datetime as dt
import os
import platform
import re
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from project.redis_server import find_redis

PACKAGES: Final = (
    *("Django", "asgiref", "channels", "channels-redis", "redis", "hiredis", "celery"),
    *("daphne", "Twisted", "autobahn", "uvicorn", "uvloop", "httptools"),
    *("celery-progress", "tqdm", "websockets", "picows", "django-eventstream"),
)


def machine() -> dict[str, Any]:
    """Date, machine and versions."""
    return {
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
        "system": f"{platform.system()} {platform.release().partition('-')[0]}",
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "redis": find_redis().label,
        "nginx": nginx_version(),
        "packages": {name: found for name in PACKAGES if (found := _version(name))},
    }


def nginx_version() -> str:
    """nginx's version, "" if there is none."""
    program = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None:
        return ""
    told = subprocess.run([program, "-v"], capture_output=True, text=True, check=False).stderr
    return found[1] if (found := re.search(r"nginx/(\S+)", told)) else ""


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.machine()


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
