"""``python -m tests.e2e.pictures`` takes the pictures in ``docs/img/browser/`` of the page of examples.

Needs Chromium; starts the site's web process alone, on a free port, without Redis and worker.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any, Final

OUT: Final = Path(__file__).parents[2] / "docs/img/browser"
LARGEST: Final = 150_000  # bytes of one picture
SIZES: Final = {"wide": 1280, "phone": 360}  # px
# Rows that come onto the screen are painted a frame later.
TO_THE_TOP: Final = """async (part) => {
  part.scrollIntoView({ block: "start" });
  for (let frames = 5; frames; frames -= 1) await new Promise(requestAnimationFrame);
}"""
TALLEST: Final = {"wide": 1000, "phone": 1400}  # px; the rest of a section is more of the same
# Section → its looks. The others are those of these in other words.
TAKEN: Final = {
    "running": ("wide-light", "wide-dark", "phone-light", "phone-dark"),
    "ends": ("wide-light", "phone-dark"),
    "connection": ("wide-light", "wide-dark"),
    "attributes": ("wide-light", "phone-light"),
    "list": ("wide-light", "phone-dark"),
    "log": ("wide-dark", "phone-light"),
}


def take(browser: Any, url: str) -> None:
    """All of them; those of an earlier time that are not taken any more go away."""
    OUT.mkdir(parents=True, exist_ok=True)
    for section, looks in TAKEN.items():
        for look in looks:
            size, scheme = look.split("-")
            context = browser.new_context(
                viewport={"width": SIZES[size], "height": TALLEST[size]},
                color_scheme=scheme,
                timezone_id="UTC",
                locale="en",
            )
            page = context.new_page()
            page.goto(f"{url}/demo/?width={size}")
            page.locator("[data-ready]").wait_for(state="attached")
            part = page.locator(f"#{section}")
            page.locator("#list-5 li").nth(499).wait_for(state="attached")
            page.locator("#list-5 task-list").get_by_text("215 running").first.wait_for()
            page.locator("#running-5 .member").nth(4).wait_for()
            path = OUT / f"{section}-{look}.png"
            part.evaluate(TO_THE_TOP)
            box = part.bounding_box()
            left = max(box["x"] - 24, 0)
            wide = min(box["width"] + 48, SIZES[size])
            clip = {"x": left, "y": 0, "width": wide, "height": min(box["y"] + box["height"], TALLEST[size])}
            page.screenshot(path=path, clip=clip, animations="disabled")
            _check(path)
            context.close()
    kept = {f"{section}-{look}.png" for section, looks in TAKEN.items() for look in looks}
    for path in OUT.glob("*.png"):
        if path.name not in kept:
            path.unlink()


def _check(path: Path) -> None:
    if (size := path.stat().st_size) > LARGEST:
        raise AssertionError(f"{path.name} has {size:,} bytes, expected {LARGEST:,} at most: take less of the page.")
    print(f"{path.name}: {size:,} bytes")


def main() -> None:
    """Start the site, take the pictures, stop it."""
    from playwright.sync_api import sync_playwright

    from tests.processes import Web

    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        env = {**os.environ, "DATA_DIR": folder, "DJANGO_SETTINGS_MODULE": "project.settings"}
        web = Web(Path(folder), env).start()
        program = shutil.which("chromium") or shutil.which("google-chrome")
        chromium = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        try:
            take(chromium, web.url)
        finally:
            chromium.close()
            web.kill()


if __name__ == "__main__":
    main()
