"""Programs of Debian packages for tests, fetched and unpacked without touching the system.

A package and what it needs and the machine lacks go into a folder of the user's cache; no root
rights are needed, and dpkg's state stays as it is. On a system without apt the test says what to
install.
"""

from __future__ import annotations

import fcntl
import os
import platform
import shutil
import subprocess
from pathlib import Path

# A server that refuses to run as root runs as nobody, who cannot look into root's home.
PLACE = "/var/cache/prp-test-packages" if os.getuid() == 0 else "~/.cache/prp-test-packages"
CACHE = Path(os.environ.get("PRP_TEST_PACKAGES", PLACE)).expanduser()
FETCH_SECONDS = 900


def fetched_root(name: str, packages: tuple[str, ...]) -> Path:
    """The folder called `name` in which `packages` are unpacked, fetched at the first call."""
    root = CACHE / name
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # other processes of the tests want it as well
        if not root.is_dir():
            _fetch(root, packages)
    return root


def environment_in(root: Path) -> dict[str, str]:
    """The variables with which a program below `root` finds its libraries and fonts."""
    places = [
        above / f"{platform.machine()}-linux-gnu" for above in (root / "usr" / "lib", root / "lib")
    ]
    # some packages keep libraries of their own one folder deeper (PulseAudio's)
    below = {file.parent for place in places for file in place.glob("*/lib*.so*")}
    return {
        **os.environ,
        "LD_LIBRARY_PATH": ":".join(map(str, [*places, *sorted(below)])),
        "FONTCONFIG_FILE": str(_fonts_below(root)),
    }


def _fonts_below(root: Path) -> Path:
    """A configuration of Fontconfig with the fonts below `root` and no others.

    With ``FONTCONFIG_SYSROOT`` Fontconfig names them by paths that exist below `root` alone, where
    a browser does not look: it finds no font, and never ends drawing a page.
    """
    path = root / "fonts-below.conf"
    if not path.is_file():
        new = path.with_suffix(f".{os.getpid()}")
        new.write_text(
            '<?xml version="1.0"?>\n<!DOCTYPE fontconfig SYSTEM "urn:fontconfig:fonts.dtd">\n'
            f"<fontconfig><dir>{root}/usr/share/fonts</dir>"
            f"<cachedir>{root}/var/cache/fontconfig</cachedir></fontconfig>\n"
        )
        new.rename(path)
    return path


def _fetch(root: Path, packages: tuple[str, ...]) -> None:
    assert shutil.which("apt-get"), f"no apt-get here: install {', '.join(packages)} by hand"
    work = root.with_name(f"{root.name}.work")
    shutil.rmtree(work, ignore_errors=True)
    for folder in ("lists/partial", "cache/archives/partial", "debs", "root"):
        (work / folder).mkdir(parents=True)
    # lists of our own: the machine's may be old or absent, and only root may write them
    options = ["-o", f"Dir::State::Lists={work / 'lists'}", "-o", f"Dir::Cache={work / 'cache'}"]
    options += ["-o", "APT::Sandbox::User="]
    _run(["apt-get", *options, "update", "-qq"], work)
    plan = _run(["apt-get", *options, "install", "-s", "--no-install-recommends", *packages], work)
    wanted = [line.split()[1] for line in plan.splitlines() if line.startswith("Inst ")]
    assert wanted, f"{', '.join(packages)}: installed already, and not found"
    _run(["apt-get", *options, "download", "-qq", *wanted], work / "debs")
    for package in sorted((work / "debs").glob("*.deb")):
        _run(["dpkg", "-x", str(package), str(work / "root")], work)
    (work / "root").rename(root)
    shutil.rmtree(work)


def _run(command: list[str], folder: Path) -> str:
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=FETCH_SECONDS
    )
    assert done.returncode == 0, f"{' '.join(command[:6])} ...: {done.stderr[-500:]}"
    return done.stdout
