"""Probes of one machine: what a worker there can reach, read and hold, each as a finding.

A probe returns a `Finding` for whatever goes wrong and raises nothing: what it finds is shown
beside what the other machines find.
"""

from __future__ import annotations

import os
import platform
import secrets
import shutil
import stat
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from orchestrator.config.redaction import redacted
from orchestrator.config.run_config import RunConfig, parse_config
from orchestrator.config.typed_command import prp
from orchestrator.sweep.finding import Finding, Level, access_advice, reason_of
from orchestrator.sweep.gpu_shares import is_shared, node_share_finding
from orchestrator.sweep.video_probe import corpora_findings
from prp_core.data.object_store import ObjectStore, read_all

PACKAGES = ("prp", "ray", "torch", "optuna", "mlflow")
GIB = 1 << 30
MIN_CACHE_BYTES = 5 * GIB
MIN_SHARED_BYTES = GIB // 4
SKEW_WARNING_SECONDS = 5.0
SKEW_FAILURE_SECONDS = 300.0  # S3 refuses requests that are signed 15 minutes off
OTHERS = stat.S_IRWXG | stat.S_IRWXO


@dataclass(frozen=True, kw_only=True)
class Examination:
    """What is looked at on every machine; empty URIs are not.

    `storage_token` is the key of an object that the driver wrote into the storage, `versions` are
    the driver's. `gpus` is how many GPUs a worker has.
    """

    config: dict[str, Any]
    storage_uri: str = ""
    storage_token: str = ""
    tracking_uri: str = ""
    database_url: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)


def examine(examination: Examination) -> list[Finding]:
    """Every probe of the machine on which this runs."""
    config = parse_config(examination.config)
    probes: list[Callable[[], Finding]] = [
        lambda: versions_finding(examination.versions, versions_here()),
        lambda: storage_finding(config, examination.storage_uri, examination.storage_token),
        lambda: tracking_finding(examination.tracking_uri, config.sweep.name),
        lambda: database_finding(examination.database_url),
        lambda: disk_finding(config.cache.folder, MIN_CACHE_BYTES),
        shared_memory_finding,
        lambda: gpu_finding(config.resources.gpus_per_worker),
    ]
    if is_shared(config):
        probes.append(lambda: node_share_finding(config))
    return [*(probe() for probe in probes), *corpora_findings(config)]


def versions_here() -> dict[str, str]:
    """The versions of Python and of the packages that processes of a sweep share."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def versions_finding(drivers: Mapping[str, str], here: Mapping[str, str]) -> Finding:
    """Whether this machine has the driver's versions."""
    different = [
        f"{name} {here.get(name, 'missing')} (driver {drivers[name]})"
        for name in drivers
        if here.get(name) != drivers[name]
    ]
    if not different:
        return Finding("versions", Level.OK, f"python {here['python']}, ray {here.get('ray')}")
    return Finding(
        "versions",
        Level.FAILURE,
        ", ".join(different),
        "install the same versions on every node: one image, or `uv sync` on each",
    )


def storage_finding(config: RunConfig, uri: str, token: str) -> Finding:
    """Whether the storage is the driver's, and can be written on conditions.

    The object `token`, which the driver wrote, is read there.
    """
    if not uri:
        return Finding("storage", Level.OK, "none given")
    from orchestrator.storage.conditional_writes import check_conditional_writes
    from orchestrator.storage.open_store import open_store

    try:
        store = open_store(uri, config.store)
        if token and not any(info.key == token for info in store.list(token)):
            return Finding(
                "storage",
                Level.FAILURE,
                f"{uri} is another folder here: what the driver wrote is not in it",
                "give a --storage that every node sees: a shared folder, or s3://bucket/prefix",
            )
        check_conditional_writes(store)
    # whatever a store raises is what this machine finds
    except Exception as error:  # noqa: BLE001
        return Finding("storage", Level.FAILURE, reason_of(error), access_advice(uri))
    return Finding("storage", Level.OK, f"{uri}: read, written on conditions, deleted")


def tracking_finding(uri: str, experiment: str) -> Finding:
    """Whether MLflow takes a run, a file and a model from here; a file of the driver's machine is
    not asked for.
    """
    if not uri.startswith(("http://", "https://")):
        return Finding("mlflow", Level.OK, f"{redacted(uri) or 'none'}: not a server")
    from orchestrator.tracking.start_check import check_tracking

    advice = f"check that {redacted(uri)} can be reached from this machine, with its credentials"
    try:
        lines = check_tracking(uri, experiment)
    # whatever MLflow raises is what this machine finds
    except Exception as error:  # noqa: BLE001
        return Finding("mlflow", Level.FAILURE, reason_of(error), advice)
    if lines:
        return Finding("mlflow", Level.WARNING, redacted("; ".join(lines)), advice)
    return Finding("mlflow", Level.OK, f"{redacted(uri)}: takes runs, files and models")


def database_finding(url: str) -> Finding:
    """Whether the database of trials can be opened from here."""
    if not url:
        return Finding("database", Level.OK, "none: the study is kept in the storage")
    from orchestrator.search.database import open_database

    try:
        open_database(url).remove_session()
    # whatever a database's driver raises is what this machine finds
    except Exception as error:  # noqa: BLE001
        advice = (
            "check --database, and that this machine may reach its port (pg_hba.conf, firewall)"
        )
        return Finding("database", Level.FAILURE, reason_of(error), advice)
    return Finding("database", Level.OK, f"{redacted(url)}: opened")


def disk_finding(folder: Path | str, min_bytes: int) -> Finding:
    """Whether the cache's disk has `min_bytes` free and can be written."""
    from orchestrator.sweep.writable import why_not_writable

    place = Path(folder).expanduser()
    if problem := why_not_writable(place):
        return Finding(
            "disk",
            Level.FAILURE,
            f"the cache {place}: {problem}",
            "set cache.dir to another folder",
        )
    free = shutil.disk_usage(_nearest(place)).free
    text = f"{free / GIB:.1f} GiB free for the cache in {place}"
    advice = f"set cache.dir to a larger disk, or `{prp('cache clear')}`"
    return _room_finding("disk", text, free, min_bytes, advice)


def shared_memory_finding(
    folder: Path | str = "/dev/shm", min_bytes: int = MIN_SHARED_BYTES
) -> Finding:
    """Whether processes of this machine can share memory; machines without the folder have other
    means.
    """
    if not Path(folder).is_dir():
        return Finding("shared memory", Level.OK, f"no {folder} on this system")
    free = shutil.disk_usage(folder).free
    text = f"{free / GIB:.2f} GiB free in {folder}"
    advice = (
        "give the container more: docker run --shm-size=1g, in Kubernetes an emptyDir of memory"
    )
    return _room_finding("shared memory", text, free, min_bytes, advice)


def _room_finding(name: str, text: str, free: int, min_bytes: int, advice: str) -> Finding:
    if free >= min_bytes:
        return Finding(name, Level.OK, text)
    return Finding(name, Level.WARNING, f"{text}, less than {min_bytes / GIB:g}", advice)


def gpu_finding(gpus_per_worker: float, program: str = "nvidia-smi") -> Finding:
    """The GPUs and the driver of this machine, by NVIDIA's own program."""
    if not gpus_per_worker:
        return Finding("gpu", Level.OK, "not asked for (resources.gpus_per_worker = 0)")
    query = [program, "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True)
        lines = [line.strip() for line in done.stdout.splitlines() if line.strip()]
    except (OSError, subprocess.SubprocessError) as error:
        return Finding(
            "gpu",
            Level.FAILURE,
            f"{program} gives no answer ({type(error).__name__}), and a worker needs "
            f"{gpus_per_worker:g} GPU",
            "install NVIDIA's driver, or start the container with its GPUs (--gpus all)",
        )
    return Finding("gpu", Level.OK, "; ".join(lines) or "none")


def clock_finding(sent: float, there: float, received: float) -> Finding:
    """How far a machine's clock, read as `there`, lies outside of what the driver's allows: it was
    asked at `sent` and answered before `received` (seconds since 1970).
    """
    skew = max(sent - there, there - received, 0.0)
    text = f"{skew:.1f} s away from the driver's, at least" if skew else "agrees with the driver's"
    advice = "run a time service (chrony, systemd-timesyncd) on every node"
    if skew >= SKEW_FAILURE_SECONDS:
        return Finding("clock", Level.FAILURE, f"{text}: S3 refuses what it signs", advice)
    if skew >= SKEW_WARNING_SECONDS:
        return Finding("clock", Level.WARNING, text, advice)
    return Finding("clock", Level.OK, text)


def token_finding(environ: Mapping[str, str] = os.environ) -> Finding:
    """Whether Ray's token is read by its owner alone; whoever reads it runs code as they."""
    if environ.get("RAY_AUTH_TOKEN"):
        return Finding("token", Level.OK, "given by RAY_AUTH_TOKEN")
    given = environ.get("RAY_AUTH_TOKEN_PATH")
    path = Path(given) if given else Path(environ.get("HOME") or "/") / ".ray" / "auth_token"
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError:
        return Finding(
            "token",
            Level.WARNING,
            f"there is no token file {path}: whoever reaches the cluster's ports runs code on it",
            "start the cluster with RAY_AUTH_MODE=token; docs/security.md says how",
        )
    if mode & OTHERS:
        return Finding(
            "token",
            Level.FAILURE,
            f"{path} can be read by others (mode {mode:04o})",
            f"chmod 600 {path}, and make a new token if others have accounts here",
        )
    return Finding("token", Level.OK, f"{path}, mode {mode:04o}")


def write_token(store: ObjectStore) -> str:
    """The key of a small object that is written into `store` for the other machines to find."""
    key = f"probe-{secrets.token_hex(8)}"
    store.write(key, str(time.time()).encode())
    read_all(store, key)
    return key


def _nearest(folder: Path) -> Path:
    while not folder.exists():
        folder = folder.parent
    return folder
