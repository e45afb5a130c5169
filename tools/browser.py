"""Find a browser for the page tests: the one Playwright knows, or a system Chromium, whichever is there.

python tools/browser.py            print its path; exit 1 when there is none
python tools/browser.py --ensure   get one if there is none: Playwright's download, else apt
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def playwright_browser() -> str | None:
    """Playwright's own Chromium when it is downloaded."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        path = playwright.chromium.executable_path
    return path if Path(path).exists() else None


def find() -> str | None:
    """The browser to use: EXPEDITE_BROWSER, else Playwright's, else the system's; None when there is none."""
    named = os.environ.get("EXPEDITE_BROWSER")
    if named:
        return named
    return playwright_browser() or next(filter(None, map(shutil.which, NAMES)), None)


def ensure() -> str | None:
    """Get a browser by the first way that works."""
    ways = [[sys.executable, "-m", "playwright", "install", "chromium"]]
    if shutil.which("apt-get"):
        sudo = [] if os.geteuid() == 0 else ["sudo", "-n"]
        ways.append([*sudo, "sh", "-c", "apt-get update -q && apt-get install -qy --no-install-recommends chromium"])
    for way in ways:
        print("getting a browser:", " ".join(way[-2:]), file=sys.stderr)
        try:
            subprocess.run(way, check=False, timeout=600, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        except subprocess.TimeoutExpired:
            continue
        if found := find():
            return found
    return None


def main() -> int:
    found = find() or (ensure() if "--ensure" in sys.argv[1:] else None)
    if found:
        print(f"browser: {found}")
        return 0
    print(
        "No browser for the page tests. Do one of:\n"
        "  uv run playwright install chromium\n"
        "  apt-get install chromium\n"
        "  export EXPEDITE_BROWSER=/path/to/chromium",
        file=sys.stderr,
    )
    return 1


if __name__ == "__main__":
    sys.exit(main())
