"""A headless Chromium for tests: the machine's own, else one fetched from Debian's packages."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from tests.tools.debian_packages import environment_in, fetched_root

NAMES = ("chromium", "chromium-browser", "google-chrome")
PACKAGES = ("chromium", "fonts-dejavu-core")
OPTIONS = (
    "--headless",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    # its sandbox refuses to run as root, which is who runs the tests in a container
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--enable-logging=stderr",
    "--hide-scrollbars",
)


def chromium(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run Chromium with a profile of its own in `folder`; what pages write to their console is on
    stderr.
    """
    program, environment = found_program()
    return subprocess.run(
        [program, *OPTIONS, f"--user-data-dir={folder / 'profile'}", *words],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )


def found_program() -> tuple[str, dict[str, str]]:
    """The browser's program, and the environment that it needs."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is not None:
        return found, dict(os.environ)
    root = fetched_root("chromium", PACKAGES)
    return str(root / "usr" / "lib" / "chromium" / "chromium"), environment_in(root)
