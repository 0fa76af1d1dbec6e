"""The import law: which room may name which library, and which package may see which."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.architecture.source_tree import PACKAGES, REPOSITORY, imports_of, python_files, read

# The rooms that run things on a cluster.
RUNNING_ROOMS = (
    "orchestrator/ray_cluster/",
    "orchestrator/data/index.py",
    "orchestrator/data/prepare.py",
    "orchestrator/trial/",
    "orchestrator/coordinator/",
    "orchestrator/sweep/",
    "orchestrator/downstream/feature_run.py",
)

S3_ROOMS = (
    "orchestrator/storage/s3_clients.py",
    "orchestrator/storage/s3_errors.py",
    "orchestrator/storage/s3_store.py",
)

# A library, and the only files or folders that may import it.
ROOMS_OF_LIBRARY: dict[str, tuple[str, ...]] = {
    "torch": ("prp_core/",),
    "decord": ("prp_core/data/readers/",),
    "av": ("prp_core/data/readers/", "orchestrator/data/demo_videos.py"),
    "cv2": (),
    "torchcodec": (),
    "torchvision": ("prp_core/data/shards/jpeg_codec.py",),
    "simplejpeg": ("prp_core/data/shards/jpeg_codec.py",),
    "boto3": ("orchestrator/storage/s3_clients.py",),
    "botocore": S3_ROOMS,
    "mlflow": ("orchestrator/tracking/",),
    "optuna": ("orchestrator/search/", "sweeps/"),
    "ray": (*RUNNING_ROOMS, "cluster/"),
    "pydantic": ("orchestrator/config/run_config.py",),
    "pyarrow": (
        "orchestrator/storage/parquet_table.py",
        "orchestrator/storage/manifest_file.py",
        "orchestrator/storage/shard_index_file.py",
        "orchestrator/storage/feature_file.py",
    ),
    "scipy": ("orchestrator/search/samplers/surrogate.py",),
    "safetensors": ("orchestrator/tracking/",),
    "jinja2": ("orchestrator/report/rendering.py",),
    "matplotlib": ("orchestrator/report/figures.py",),
}

# A package of ours, and those of ours that it may import.
VISIBLE_PACKAGES: dict[str, set[str]] = {
    "prp_core": {"prp_core"},
    "cluster": {"cluster"},
    "orchestrator": {"orchestrator", "prp_core", "cluster"},
    "sweeps": {"sweeps", "orchestrator", "prp_core", "cluster"},
}

# All that `prp_core` may import beside the standard library and itself; what is not torch or numpy,
# only where it is used.
CORE_LIBRARIES = {"torch", "numpy", "decord", "av", "torchvision", "simplejpeg"}


def violations(path: Path, source: str) -> list[str]:
    """Each import of `source` that the law forbids to the file at `path` (relative to the root), in
    words.
    """
    package = path.parts[0]
    found = []
    for item in imports_of(source, path):
        where = f"{path.as_posix()}:{item.line} imports {item.module}"
        rooms = ROOMS_OF_LIBRARY.get(item.library)
        if rooms is not None and not any(
            path.as_posix() == room or (room.endswith("/") and path.as_posix().startswith(room))
            for room in rooms
        ):
            found.append(f"{where}: only {', '.join(rooms) or 'no file'} may")
        if item.library in PACKAGES and item.library not in VISIBLE_PACKAGES[package]:
            found.append(
                f"{where}: {package} may see only {', '.join(sorted(VISIBLE_PACKAGES[package]))}"
            )
        if item.library == "tests":
            found.append(f"{where}: the tests are no part of the product")
        if package == "prp_core" and item.library not in {
            *CORE_LIBRARIES,
            "prp_core",
            *sys.stdlib_module_names,
        }:
            found.append(f"{where}: prp_core runs where only torch and numpy are installed")
    return list(dict.fromkeys(found))


@pytest.mark.parametrize("path", list(python_files(*PACKAGES)), ids=str)
def test_each_file_keeps_the_law(path: Path) -> None:
    assert violations(path, read(path)) == []


@pytest.mark.parametrize(
    "library", [library for library, rooms in ROOMS_OF_LIBRARY.items() if rooms]
)
def test_each_room_of_the_table_is_used(library: str) -> None:
    """A row whose library nobody imports any more would be a law about nothing."""
    used = {
        path
        for path in python_files(*PACKAGES)
        for item in imports_of(read(path), path)
        if item.library == library
    }
    assert used, (
        f"nothing imports {library}: remove its row here, in pyproject.toml's contracts "
        "and in its dependencies"
    )


PLANTED = [
    ("prp_core/training/loop.py", "import ray", "imports ray: only orchestrator/ray_cluster/"),
    (
        "prp_core/training/loop.py",
        "import rich",
        "prp_core runs where only torch and numpy are installed",
    ),
    (
        "prp_core/training/loop.py",
        "def f():\n    from av import open",
        "imports av: only prp_core/data/readers/",
    ),
    (
        "prp_core/data/loader.py",
        "import importlib\nimportlib.import_module('decord')",
        "imports decord: only prp_core/data/readers/",
    ),
    (
        "prp_core/data/loader.py",
        "from orchestrator.storage import s3_store",
        "prp_core may see only prp_core",
    ),
    (
        "prp_core/data/loader.py",
        "from ...cluster import capacity",
        "prp_core may see only prp_core",
    ),
    (
        "orchestrator/commands/prp.py",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import torch",
        "imports torch: only prp_core/",
    ),
    (
        "orchestrator/storage/open_store.py",
        "import botocore.exceptions",
        "only orchestrator/storage/s3_clients.py, orchestrator/storage/s3_errors.py, ",
    ),
    (
        "orchestrator/sweep/live_screen.py",
        "import mlflow.tracking",
        "imports mlflow.tracking: only orchestrator/tracking/",
    ),
    ("orchestrator/search/study.py", "import ray.tune", "imports ray.tune: only"),
    (
        "orchestrator/sweep/driver.py",
        "from sweeps.rate_search import suggest",
        "orchestrator may see only cluster, orchestrator, prp_core",
    ),
    (
        "orchestrator/trial/worker.py",
        "from tests.tools import rgw",
        "the tests are no part of the product",
    ),
    (
        "orchestrator/sweep/a.py",
        "import optuna",
        "imports optuna: only orchestrator/search/, sweeps/",
    ),
    (
        "sweeps/rate_search.py",
        "import pydantic",
        "imports pydantic: only orchestrator/config/run_config.py",
    ),
    (
        "cluster/capacity.py",
        "import prp_core.training.pretrain_config",
        "cluster may see only cluster",
    ),
]


@pytest.mark.parametrize(
    ("path", "source", "expected"),
    PLANTED,
    ids=[f"{path}: {expected}" for path, _, expected in PLANTED],
)
def test_a_planted_violation_is_found(path: str, source: str, expected: str) -> None:
    found = violations(Path(path), source)
    assert any(expected in text for text in found), found


ALLOWED = [
    ("prp_core/data/readers/decord_reader.py", "import decord\nimport numpy"),
    ("orchestrator/data/demo_videos.py", "import av"),
    (
        "orchestrator/sweep/driver.py",
        "import ray\nfrom prp_core.training.pretrain_config import "
        "PretrainConfig\nfrom cluster import capacity",
    ),
    ("sweeps/rate_search.py", "from orchestrator.sweep.driver import sweep"),
    ("prp_core/training/loop.py", "import torch\nfrom . import learner\nfrom ..data import loader"),
]


@pytest.mark.parametrize(("path", "source"), ALLOWED, ids=[path for path, _ in ALLOWED])
def test_what_the_law_allows_passes(path: str, source: str) -> None:
    assert violations(Path(path), source) == []


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run import-linter on the packages of `folder` by the contracts of its pyproject.toml."""
    program = Path(sys.executable).with_name("lint-imports")
    return subprocess.run(
        [program, "--no-cache"], cwd=folder, capture_output=True, text=True, timeout=120
    )


def test_import_linter_contracts_hold_and_bite(tmp_path: Path) -> None:
    for package in PACKAGES:
        shutil.copytree(
            REPOSITORY / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__")
        )
    shutil.copy(REPOSITORY / "pyproject.toml", tmp_path)
    kept = lint_imports(tmp_path)
    assert kept.returncode == 0, kept.stdout + kept.stderr

    (tmp_path / "prp_core" / "planted.py").write_text(
        '"""Planted."""\n\nimport ray\nfrom orchestrator import cli\n'
    )
    broken = lint_imports(tmp_path)
    assert broken.returncode == 1, broken.stdout + broken.stderr
    assert "prp_core.planted" in broken.stdout
