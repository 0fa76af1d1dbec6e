"""The start of a local Ray that other users of the machine cannot reach.

Ray itself listens on every interface, makes its folders writable for all, and writes its token
readable for all. Here its processes listen on loopback, its sessions lie in a folder of mode 0700,
and its token is a file of mode 0600 in there. The processes that serve a dashboard or an
autoscaler are not started.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import secrets
import signal
import stat
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ray
from ray._private import parameter as ray_parameter  # no public names for what is used of these
from ray._private import ray_constants, services
from ray._private.node import Node
from ray._raylet import AuthenticationTokenLoader, Config  # type: ignore[attr-defined]
from ray.job_config import JobConfig

from orchestrator.ray_cluster import absent_agent, setup_worker
from prp_core.errors import PrpError, UserError

_LOGGER = logging.getLogger(__name__)

NUM_STARTS = 3
PRESTART = "RAY_prestart_worker_first_driver"
TOKEN = "RAY_AUTH_TOKEN"
TOKEN_PATH = "RAY_AUTH_TOKEN_PATH"
MODE = "RAY_AUTH_MODE"
# The bytes that the path of a Unix socket may have, and what Ray appends to its sessions' folder.
SOCKET_BYTES = 103 if sys.platform == "darwin" else 107
BELOW_FOLDER = "/ray/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store.10"
OTHERS = stat.S_IRWXG | stat.S_IRWXO


def start_local_ray(*, log_to_driver: bool = False, **options: Any) -> None:
    """Start Ray on this machine with `ray.init`, in `NUM_STARTS` tries. `log_to_driver`: what its
    workers print is printed by this process as well.

    Ray's own timeout of 30 seconds is sometimes too short on a busy machine.
    """
    sessions = private_folder() / "ray"
    for attempt in range(NUM_STARTS):
        try:
            with _on_loopback(), lean_node(log_to_driver=log_to_driver):
                ray.init(
                    address="local",
                    include_dashboard=False,
                    log_to_driver=log_to_driver,
                    _temp_dir=str(sessions),
                    **options,
                )
            return
        except Exception as error:
            if "timed out during startup" not in str(error):  # Ray has no class of its own for that
                raise
            _end_half_started(error)
            if attempt + 1 < NUM_STARTS:
                _LOGGER.warning(
                    "Ray was not up within its 30 seconds on this busy machine: starting it again"
                )
    raise PrpError(
        f"Ray did not start on this machine in {NUM_STARTS} tries of 30 seconds: the "
        "machine is overloaded; try again when it is not"
    )


@contextlib.contextmanager
def _on_loopback() -> Iterator[None]:
    """A context in which a node that starts takes 127.0.0.1 for its address.

    Ray's servers then listen there and nowhere else, as they do on a Mac. Ray has no option for it
    on Linux: `_node_ip_address` is replaced by the address of a network interface.
    """
    before = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before


@contextlib.contextmanager
def lean_node(*, log_to_driver: bool = False) -> Iterator[None]:
    """A context in which a node starts without dashboard, its agent and autoscaler's monitor,
    without workers that wait for the first task, and without a log monitor unless workers' logs go
    to the driver. Its workers start by a program that does not import Ray first.

    Each is a process of some 90 MB and of one CPU-second at the start. Ray has no option for the
    monitors and the agent, and starts its dashboard's process also where
    ``include_dashboard=False``. Workers that wait lack the runtime environment of a sweep, so that
    none of them is used.
    """
    make, serve = ray_parameter.RayParams, Node.start_api_server
    python_for = services._build_python_executable_command_memory_profileable
    ray_parameter.RayParams = functools.partial(  # type: ignore[assignment, misc]
        make,
        no_monitor=True,
        include_log_monitor=log_to_driver,
        setup_worker_path=setup_worker.__file__,
    )
    Node.start_api_server = _no_dashboard  # type: ignore[method-assign]
    services._build_python_executable_command_memory_profileable = functools.partial(
        _no_agent, python_for
    )
    given = os.environ.get(PRESTART)
    os.environ[PRESTART] = given or "0"
    try:
        yield
    finally:
        ray_parameter.RayParams = make  # type: ignore[misc]
        Node.start_api_server = serve  # type: ignore[method-assign]
        services._build_python_executable_command_memory_profileable = python_for
        if given is None:
            os.environ.pop(PRESTART)


def _no_dashboard(node: Any, **_: Any) -> None:
    """In the place of `Node.start_api_server`: the node's dashboard has no address."""
    node._webui_url = ""


def _no_agent(
    python_for: Callable[..., list[str]], component: str, *arguments: Any, **options: Any
) -> list[str]:
    """Ray's words for ``python``, `python_for`, with which it starts the program of `component`;
    the dashboard's agent becomes an argument of the program that takes its place.
    """
    words = python_for(component, *arguments, **options)
    is_agent = component == ray_constants.PROCESS_TYPE_DASHBOARD_AGENT
    return [*words, absent_agent.__file__] if is_agent else words


def private_folder() -> Path:
    """The folder of this user's local Rays, below ``RAY_TMPDIR`` or ``/tmp``: mode 0700.

    Where somebody else holds its name, a new folder with a name of its own. Its path is short,
    because Ray puts Unix sockets below it.
    """
    base = Path(os.environ.get("RAY_TMPDIR") or "/tmp").absolute()
    folder = base / f"prp-ray-{os.getuid()}"
    _check_length(base)
    try:
        folder.mkdir(mode=0o700, parents=True)
    except FileExistsError:
        pass
    except OSError as error:
        raise UserError(
            f"Ray's files cannot be written to {base}: {error.strerror}; set RAY_TMPDIR to a "
            "folder that can be written, with a short name"
        ) from None
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        return Path(tempfile.mkdtemp(prefix=f"{folder.name}-", dir=base))
    if found.st_mode & OTHERS:
        folder.chmod(0o700)
    return folder


def _check_length(base: Path) -> None:
    """Raise `UserError` where the sockets that Ray makes below `base` would have longer paths than
    a Unix socket can have.
    """
    most = SOCKET_BYTES - len(f"/prp-ray-{os.getuid()}-12345678{BELOW_FOLDER}")
    length = len(os.fsencode(base))
    if length > most:
        raise UserError(
            f"RAY_TMPDIR = {base} has {length} bytes, and Ray's sockets below it can only be made "
            f"where it has at most {most}: set it to a folder with a shorter name, such as /tmp"
        )


@contextlib.contextmanager
def token_of_its_own() -> Iterator[None]:
    """A context in which Ray asks for a token that only this user can read.

    A token that the user has set in the environment stays. Ray switches its process to tokens for
    good; after the context it is as before, or the next cluster that starts here waits for a
    control store that has ended, because it has no token.
    """
    mode = os.environ.get(MODE)
    if TOKEN in os.environ or TOKEN_PATH in os.environ:
        yield
        return
    path = private_folder() / "auth_token"
    with contextlib.suppress(FileExistsError):
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w") as file:
            file.write(secrets.token_hex(32))
    os.environ[TOKEN_PATH] = str(path)
    AuthenticationTokenLoader.instance().reset_cache()
    try:
        yield
    finally:
        os.environ.pop(TOKEN_PATH, None)
        if mode is None:
            os.environ.pop(MODE, None)
            Config.initialize("")  # which reads the environment
        AuthenticationTokenLoader.instance().reset_cache()  # or the next Ray here is given this one


def close_token_file() -> None:
    """Take the right to read ``~/.ray/auth_token`` from other users, with a warning where they had
    it: Ray writes it so. Whoever reads it runs code as its owner."""
    AuthenticationTokenLoader.instance().reset_cache()
    # RuntimeError: this user has no home folder
    with contextlib.suppress(FileNotFoundError, NotADirectoryError, PermissionError, RuntimeError):
        path = Path.home() / ".ray" / "auth_token"
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & OTHERS:
            path.chmod(0o600)
            _LOGGER.warning(
                "%s could be read by other users (mode %04o) and is 0600 now; "
                "make a new token if others have accounts on this machine",
                path,
                mode,
            )


def job_config_without_working_dir() -> JobConfig:
    """A job's settings by which workers import from where this process does, and not from its
    working directory as well, where a ``numpy.py`` may lie beside the videos."""
    config = JobConfig()
    config._py_driver_sys_path = _ImportPath()
    return config


class _ImportPath(list[str]):
    """The folders that Ray hands to its workers, without those that this process does not use."""

    def extend(self, folders: Any) -> None:
        super().extend(folder for folder in folders if folder in sys.path)


def _end_half_started(error: Exception) -> None:
    """Kill the processes of a node whose start Ray gave up.

    Ray forgets the node, but the error's traceback holds it, and the command lines of its processes
    name its session.
    """
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    for node in [
        frame.f_locals["self"] for frame in frames if isinstance(frame.f_locals.get("self"), Node)
    ]:
        node.kill_all_processes(check_alive=False, wait=True)
        for entry in Path("/proc").glob(
            "[0-9]*"
        ):  # agents of a node that goes so early do not notice
            with contextlib.suppress(OSError):  # it ended while we looked
                if node.session_name.encode() in (entry / "cmdline").read_bytes():
                    os.kill(int(entry.name), signal.SIGKILL)
