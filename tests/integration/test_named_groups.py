"""What the workers of a killed driver held is free for the next start of the run.

The local cluster has one CPU and no dashboard: a placement group that stays would hold it for ever.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.util import placement_group_table

from orchestrator.config.run_config import RunConfig, load_config
from orchestrator.ray_cluster.connect import ray_cluster
from orchestrator.ray_cluster.worker_group import fit_workers
from tests.tools.waiting import wait_until

CONFIG = load_config("demo")
CONTROLLER = "ray-train-controller"  # the thread's name


@pytest.fixture(scope="module", autouse=True)
def one_cpu() -> Iterator[None]:
    with ray_cluster(num_cpus=1):
        yield


def work(task: Mapping[str, Any]) -> int:
    """Say that it runs, then hang unless told what to return."""
    Path(task["folder"], "runs").write_text(str(os.getpid()))
    while task["result"] is None:
        time.sleep(0.1)
    return task["result"]


def fit(folder: Path, result: int | None, config: RunConfig = CONFIG) -> int:
    of_ctrl_c = signal.getsignal(signal.SIGINT)
    fitted = fit_workers(
        work,
        {"folder": str(folder), "result": result},
        config,
        state_dir=folder,
        name="run-0001",
        max_failures=0,
    )
    assert signal.getsignal(signal.SIGINT) is of_ctrl_c, "Ray Train leaves its own"
    return int(fitted)


def living_actors() -> dict[int, str]:
    """The classes of the living actors, by their processes."""
    found: Any = ray._private.state.actors()
    return {one["Pid"]: one["ActorClassName"] for one in found.values() if one["State"] == "ALIVE"}


def groups() -> list[str]:
    """The placement groups of the run."""
    found = [one for one in placement_group_table().values() if one["state"] != "REMOVED"]
    return [one["name"] for one in found if one["name"].startswith("run-0001")]


def imports_torch(process_id: int) -> bool:
    """Whether a worker does the first thing of joining its process group."""
    return "libtorch" in Path(f"/proc/{process_id}/maps").read_text()


def interrupted_when(what: Callable[[], bool]) -> threading.Thread:
    """A thread that presses Ctrl-C in this process as soon as `what()` is true."""

    def interrupt() -> None:
        wait_until(what)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    return thread


@pytest.fixture
def heeds_ctrl_c() -> Iterator[None]:
    """SIGINT interrupts this process, which a shell that started it in the background has made
    ignore it.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heeds_ctrl_c")
@pytest.mark.parametrize("cpus", [2.0, 1.0], ids=["waits for a place", "trains"])
def test_ctrl_c_in_the_process_of_the_controller_leaves_nothing(
    cpus: float, tmp_path: Path
) -> None:
    """What it waits for does not come by itself: two CPUs, or the end of work that hangs."""
    resources = replace(CONFIG.resources, cpus_per_worker=cpus)
    waits = (lambda: bool(groups())) if cpus > 1 else (tmp_path / "runs").exists
    thread = interrupted_when(waits)
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path, None, replace(CONFIG, resources=resources))
    thread.join()
    assert groups() == []
    wait_until(lambda: CONTROLLER not in {one.name for one in threading.enumerate()})
    wait_until(lambda: not living_actors())


def test_the_next_start_of_the_run_has_the_cpu(tmp_path: Path) -> None:
    """The first start loses its driver, the second a worker that joins the process group, which its
    controller starts again.
    """
    drive = ray.remote(num_cpus=0, max_retries=0)(fit)
    start = drive.remote(tmp_path, None)
    wait_until((tmp_path / "runs").exists)
    assert set(living_actors().values()) == {"RayTrainWorker"}, "and no process beside them"
    ray.cancel(start, force=True)
    with pytest.raises(ray.exceptions.RayError):
        ray.get(start)
    wait_until(lambda: not living_actors())
    last = drive.remote(tmp_path, 7)
    wait_until(lambda: any(map(imports_torch, living_actors())))
    os.kill(min(living_actors()), signal.SIGKILL)
    assert ray.get(last, timeout=120) == 7
    assert groups() == []
