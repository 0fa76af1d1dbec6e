"""The confinement of a decode process by the Linux kernel: no network, and few readable files.

Each part is used where the kernel offers it and missing where it does not; nothing fails for lack
of it. `confine_process` holds for whatever runs in the process afterwards; `confine_thread` narrows
one thread to one file. Landlock: Linux 5.13, ``Documentation/userspace-api/landlock.rst`` of its
source, whose numbers stand below.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import struct
import sys
from collections.abc import Iterable
from pathlib import Path

_LIBC = ctypes.CDLL(None, use_errno=True)

CLONE_NEWUSER = 0x10000000
CLONE_NEWNET = 0x40000000
PR_SET_NO_NEW_PRIVS = 38
M_ARENA_MAX = -8  # glibc's malloc.h

SYS_CREATE_RULESET = 444  # one number on every architecture
SYS_ADD_RULE = 445
SYS_RESTRICT_SELF = 446
CREATE_RULESET_VERSION = 1
RULE_PATH_BENEATH = 1
READ_FILE = 1 << 2
READ_DIR = 1 << 3
# How many rights on files exist by version of the interface: execute, write, read and so on.
NUM_FILE_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}
NET_RIGHTS = 0b11  # bind and connect of TCP
FIRST_VERSION_WITH_NETWORK = 4
SCOPES = 0b11  # abstract Unix sockets and signals
FIRST_VERSION_WITH_SCOPES = 6

SYSTEM_FILES = (
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/usr/local/lib",
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/usr/share/zoneinfo",
    "/sys/devices/system/cpu",
    "/proc/cpuinfo",
    "/proc/stat",
    "/dev/null",
    "/dev/urandom",
)


def confine_process(folders: Iterable[str]) -> tuple[str, ...]:
    """Take from this process, for good, the network and all files but the code and `folders`.

    Call it while there is one thread. Returns what the kernel enforces from now on: ``network``
    (a network namespace of its own with nothing in it), ``tcp`` and ``files`` (Landlock: no
    connection of that kind; no file is written, made or removed, and only the code that is loaded
    by now and the files below `folders` can be read).
    """
    enforced = ["network"] if _leave_the_network() else []
    version = _restrict([*SYSTEM_FILES, *_loaded_code(), *folders])
    if version >= FIRST_VERSION_WITH_NETWORK:
        enforced.append("tcp")
    if version:
        enforced.append("files")
    return tuple(enforced)


def confine_thread(path: str) -> bool:
    """Let this thread, and threads that it starts, read of all videos the one at `path` alone."""
    return _restrict([*SYSTEM_FILES, *_loaded_code(), path]) > 0


def use_one_arena() -> None:
    """Make all threads allocate from one arena, so that a limit of memory does not depend on how
    many threads there were (glibc reserves 64 MiB of address space for each)."""
    with contextlib.suppress(AttributeError):  # another C library has no arenas
        _LIBC.mallopt(M_ARENA_MAX, 1)


def _leave_the_network() -> bool:
    """Move into a network namespace of our own; a plain user needs a user namespace for it.

    The superuser does not take one: files of others that it may read would be out of its reach.
    """
    flags = CLONE_NEWNET if os.geteuid() == 0 else CLONE_NEWNET | CLONE_NEWUSER
    try:
        return int(_LIBC.unshare(flags)) == 0
    except AttributeError:
        return False


def _restrict(paths: Iterable[str]) -> int:
    """The version of Landlock that refuses this thread all but reading below `paths`; 0: none."""
    if not sys.platform.startswith("linux"):
        return 0
    version = _call(SYS_CREATE_RULESET, None, 0, CREATE_RULESET_VERSION)
    if version < 1:
        return 0
    rights = (1 << NUM_FILE_RIGHTS[min(version, max(NUM_FILE_RIGHTS))]) - 1
    numbers = [rights]
    if version >= FIRST_VERSION_WITH_NETWORK:
        numbers.append(NET_RIGHTS)
    if version >= FIRST_VERSION_WITH_SCOPES:
        numbers.append(SCOPES)
    attributes = struct.pack(f"={len(numbers)}Q", *numbers)
    ruleset = _call(SYS_CREATE_RULESET, attributes, len(attributes), 0)
    if ruleset < 0:
        return 0
    try:
        for path in paths:
            _allow_reading(ruleset, path)
        _LIBC.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        return version if _call(SYS_RESTRICT_SELF, ruleset, 0) == 0 else 0
    finally:
        os.close(ruleset)


def _allow_reading(ruleset: int, path: str) -> None:
    if sys.platform != "linux":
        return
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return  # what is not there needs no right
    try:
        is_folder = os.path.isdir(path)  # noqa: PTH112 - called for each video
        rule = struct.pack("=Qi", READ_FILE | READ_DIR if is_folder else READ_FILE, place)
        _call(SYS_ADD_RULE, ruleset, RULE_PATH_BENEATH, rule, 0)
    finally:
        os.close(place)


@functools.cache
def _loaded_code() -> list[str]:
    """The standard library, and the folders of the packages that are loaded, with the shared
    libraries beside them (``NAME.libs``), as they were at the first call. Where an installer has
    put links there, what they lead to as well."""
    library = Path(os.__file__)
    folders = {str(library.parent), str(library.resolve().parent)}
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if "." in name or name == "__main__" or not file or not hasattr(module, "__path__"):
            continue
        for package in (Path(file).parent, Path(file).resolve().parent):
            folders |= {str(package), f"{package}.libs"}
    return sorted(folders)


def _call(number: int, *arguments: int | bytes | None) -> int:
    """The kernel's answer, -1 where it refuses or does not know the call."""
    words = [
        ctypes.c_long(word) if isinstance(word, int) else ctypes.c_char_p(word)
        for word in arguments
    ]
    return int(_LIBC.syscall(ctypes.c_long(number), *words))
