"""Provenance of a result as run tags: commit, lock file, data, protocol and library versions."""

from __future__ import annotations

import getpass
import hashlib
import os
import platform
import subprocess
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from prp_core.isolated_start import small_environment

PROJECT_ROOT = Path(__file__).resolve().parents[2]
UNKNOWN = "unknown"
OF_SOURCES = "source-"
PACKAGES = ("prp_core", "cluster", "orchestrator", "sweeps")
LIBRARIES = ("torch", "ray", "optuna", "mlflow")


def provenance_tags(
    *,
    dataset_hash: str = "",
    protocol_hash: str = "",
    project_root: Path = PROJECT_ROOT,
    environment: Mapping[str, str] = os.environ,
) -> dict[str, str]:
    """The tags, "unknown" where there is no value; an unclean commit ends in ``-dirty``."""
    commit = git_commit(project_root, environment)
    shown = commit.removesuffix("-dirty")
    of_git = {} if shown.startswith(OF_SOURCES) else {"mlflow.source.git.commit": shown}
    return {
        "prp.git_commit": commit,
        **of_git,  # MLflow's page shows this one
        "prp.lock_sha256": lock_digest(project_root),
        "prp.dataset_hash": dataset_hash or UNKNOWN,
        "prp.protocol_hash": protocol_hash or UNKNOWN,
        "prp.version.python": platform.python_version(),
        **{f"prp.version.{name}": _version_of(name) for name in LIBRARIES},
    }


def source_tags(script: str, environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """MLflow's own tags of who started `script`, and whether as a job of a cluster."""
    is_job = "RAY_JOB_CONFIG_JSON_ENV_VAR" in environment
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user id without a name
        user = UNKNOWN
    return {
        "mlflow.user": environment.get("PRP_USER") or user,
        "mlflow.source.name": script,
        "mlflow.source.type": "JOB" if is_job else "LOCAL",
    }


def git_commit(project_root: Path, environment: Mapping[str, str] = os.environ) -> str:
    """The commit of the project's repository, else the value of PRP_GIT_COMMIT, else a digest of
    the sources, which begins with ``source-``.

    A Ray job's working directory has no ``.git``.
    """
    if (project_root / ".git").exists():
        commit = _git(project_root, "rev-parse", "HEAD")
        if commit:
            return commit + (
                "-dirty"
                if _git(project_root, "status", "--porcelain", "--untracked-files=no")
                else ""
            )
    return environment.get("PRP_GIT_COMMIT") or source_digest(project_root)


def source_digest(project_root: Path) -> str:
    """``source-`` and 12 hex digits over the Python files of the packages: equal for equal code."""
    files = sorted(path for package in PACKAGES for path in (project_root / package).rglob("*.py"))
    if not files:
        return UNKNOWN
    found = hashlib.sha256()
    for path in files:
        found.update(f"{path.relative_to(project_root).as_posix()}\n".encode())
        found.update(path.read_bytes())
    return f"{OF_SOURCES}{found.hexdigest()[:12]}"


def lock_digest(project_root: Path) -> str:
    """The sha256 of uv.lock."""
    lock = project_root / "uv.lock"
    return hashlib.sha256(lock.read_bytes()).hexdigest() if lock.is_file() else UNKNOWN


def _git(folder: Path, *words: str) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *words],
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
            env=small_environment(also_kept=("HOME",)),  # git reads its own settings there
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


def _version_of(library: str) -> str:
    try:
        return version(library)
    except PackageNotFoundError:
        return UNKNOWN
