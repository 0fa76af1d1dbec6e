"""The fixtures that any test may ask for, real servers among them, and the order of the tests."""

import gc
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.optional_reader import install_decord
from tests.running_order import GroupScheduling, in_running_order, num_processes

pytest_plugins = [
    "tests.fixtures_s3",
    "tests.fixtures_mlflow",
    "tests.fixtures_postgres",
    "tests.fixtures_training",
    "tests.fixtures_videos",
]

# The suite starts hundreds of Python processes. Without bytecode on the disk, each of them compiles
# torch, Ray and MLflow anew, which takes longer than most of what they are started for.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# The databases of Optuna and MLflow wait for the disk at each commit. The folders of the tests (up
# to 1 GB) lie in memory where there is plenty; --basetemp and the variable name another place.
MEMORY = Path("/dev/shm")
if MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > 8 << 30:
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))

# No test compares distributed tensors, whose module takes a CPU-second to import: without this,
# `torch.testing.assert_close` imports it in each process to see whether it was given one.
torch.testing._comparison._HAS_DTENSOR = False

MADE_CACHE = pytest.StashKey[str]()

# Torch, Ray, MLflow and two thousand tests are some million objects that live until the end. Going
# through them again and again, as Python does by default, is a seventh of the unit tests' CPU time.
gc.set_threshold(50_000, 20, 100)


def pytest_configure(config: pytest.Config) -> None:
    """Add the optional reader's package to this environment, unless it is there: tests run it; and
    make a node cache for all test processes. The developer's own would be thinned out to what a
    test allows, and every frame looked for among those of earlier runs.
    """
    is_controller = not hasattr(config, "workerinput")
    if is_controller and not config.option.collectonly:
        install_decord()
        place = os.environ.get("PYTEST_DEBUG_TEMPROOT")
        made = tempfile.mkdtemp(prefix="prp-node-cache-", dir=place)
        config.stash[MADE_CACHE] = made
        os.environ["PRP_CACHE_DIR"] = made


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove the node cache that the test processes shared, and never another one."""
    made = config.stash.get(MADE_CACHE, None)
    if made is not None:
        shutil.rmtree(made, ignore_errors=True)


def scheduling() -> tuple[object, ...]:
    """The scheduling of this thread, where the system tells it."""
    if not hasattr(os, "sched_getscheduler"):  # a Mac
        return ()
    return os.sched_getscheduler(0), os.sched_getparam(0)


USUAL_SCHEDULING = scheduling()


def pytest_runtest_teardown() -> None:
    """Fail a test that leaves its process with another priority: all tests after it, and their
    children, would run with it.
    """
    assert scheduling() == USUAL_SCHEDULING


def pytest_collection_finish() -> None:
    """Leave what has been imported and collected out of all further garbage collections."""
    gc.collect()
    gc.freeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files that take longest first."""
    items[:] = in_running_order(items)


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """What ``-n auto`` means here."""
    return num_processes(config.args, os.cpu_count() or 1)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> GroupScheduling | None:
    """Files by group, where they would go file by file."""
    return GroupScheduling(config, log) if config.getoption("dist") == "loadfile" else None
