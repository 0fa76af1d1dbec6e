"""Checkpoints that are written beside the steps: nobody waits, and a death costs none."""

from __future__ import annotations

import multiprocessing
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from prp_core.agreement import OtherWorkerFailed, together_asking
from prp_core.data.object_store import LocalStore, ObjectInfo
from prp_core.errors import CorruptObject
from prp_core.reporting import MemoryReporter
from prp_core.training.checkpoint import CheckpointFolder, from_bytes, to_bytes
from prp_core.training.checkpoint_keys import RunAttempt
from prp_core.training.checkpoint_record import Superseded
from prp_core.training.checkpoint_writer import CheckpointWriter, HostMemory
from prp_core.training.loop import PretrainData, pretrain
from prp_core.world import World
from tests.dying_store import DyingStore
from tests.tiny_training import assert_same, config_with, last_state, train
from tests.unit.prp_core.training.test_async_evaluation import MemoryEvaluator
from tests.warm_processes import warm_context
from tests.worker_group import run_workers

ALONE = World.alone()
FORK = multiprocessing.get_context("fork")
MAX_SECONDS = 60.0


class HeldStore(LocalStore):
    """A local store whose writes of parts wait until `go_on` is set, or raise `breaks_with`."""

    def __init__(self, root: Path, breaks_with: Exception | None = None) -> None:
        super().__init__(root)
        self.go_on = threading.Event()
        self.breaks_with = breaks_with
        self.held = []

    def write(self, key: str, data: bytes | Path, **conditions: Any) -> ObjectInfo:
        if key.endswith(".pt"):
            self.held.append(key)
            assert self.go_on.wait(MAX_SECONDS), "training waits for this write"
            if self.breaks_with is not None:
                raise self.breaks_with
        return super().write(key, data, **conditions)


@dataclass
class SettingReporter(MemoryReporter):
    """Calls `at_step` when the loss of a step is logged."""

    at_step: Callable[[int], None] = lambda step: None

    def log(self, metrics: Mapping[str, float], *, step: int) -> None:
        super().log(metrics, step=step)
        if "train/loss" in metrics:
            self.at_step(step)


def test_steps_go_on_while_a_store_does_not_answer(data: PretrainData, tmp_path: Path) -> None:
    """Its first write is not answered before the fifth step: no rung and no epoch's end waits, and
    what became due meanwhile is one checkpoint, begun when the first is written.
    """
    store = HeldStore(tmp_path)
    seen: dict[int, list[str]] = {}

    def at_step(step: int) -> None:
        seen[step] = list(store.held)
        if step == 5:
            store.go_on.set()

    outcome = pretrain(
        config_with(),
        data,
        ALONE,
        checkpoints=CheckpointFolder(store, num_kept=9),
        reporter=SettingReporter(at_step=at_step),
        evaluator=MemoryEvaluator(),
    )
    assert (outcome.last_epoch, outcome.stopped_early) == (3, False)
    assert len(seen[5]) == 1 and "step-0000000001" in seen[5][0]
    steps = sorted(path.parent.name for path in tmp_path.rglob("commit.json"))
    assert steps in (
        ["step-0000000001", "step-0000000006"],
        ["step-0000000001", "step-0000000005", "step-0000000006"],
    )


def boundary(writer: CheckpointWriter, world: World) -> None:
    """What the loop does before each step."""
    _, said = together_asking(world, "reading videos", lambda: None, writer.says())
    writer.listen(said)


def step_until_idle(writer: CheckpointWriter, world: World) -> None:
    """Steps until no checkpoint is under way."""
    while not writer.is_idle:
        boundary(writer, world)
        time.sleep(0.001)


def of_two_workers(world: World, folder: str) -> dict[str, Any]:
    """The second worker's store answers after five steps; then it fails; then all is well, until a
    later attempt begins.
    """
    answer: dict[str, Any] = {}
    store = HeldStore(Path(folder))
    attempt = RunAttempt(1, 1)
    checkpoints = CheckpointFolder(store, attempt=attempt)
    checkpoints.begin(world)
    writer = CheckpointWriter(checkpoints, world)
    if world.is_first:
        store.go_on.set()

    def start(step: int) -> None:
        files = {f"rank-{world.rank}.pt": to_bytes({"step": step})}
        writer.start(step, lambda: files, {"step": step})

    start(1)
    for step in range(1, 6):
        boundary(writer, world)
        assert not writer.is_idle, step
    store.go_on.set()
    step_until_idle(writer, world)
    answer["first"] = newest_step(folder)

    store.breaks_with = CorruptObject("a full disk") if world.rank == 1 else None
    start(2)
    try:
        writer.flush()
    except (CorruptObject, OtherWorkerFailed) as error:
        answer["broken"] = f"{type(error).__name__}: {error}"
    assert writer.is_idle
    answer["second"] = newest_step(folder)

    store.breaks_with = None
    start(3)
    writer.flush()
    answer["third"] = newest_step(folder)
    world.barrier()
    CheckpointFolder(LocalStore(Path(folder)), attempt=RunAttempt(1, 2)).begin(world)
    start(4)
    try:
        step_until_idle(writer, world)
    except Superseded:
        answer["fourth"] = newest_step(folder)
    writer.close()
    return answer


def newest_step(folder: str) -> int:
    found = CheckpointFolder(LocalStore(Path(folder))).latest_committed()
    assert found is not None and found.facts == {"step": found.step}
    assert [part.name for part in found.parts] == ["rank-0.pt", "rank-1.pt"]
    return found.step


def test_two_workers_go_on_commit_and_fail_together(tmp_path: Path) -> None:
    first, second = run_workers(of_two_workers, tmp_path / "group", str(tmp_path / "kept"))
    steps = {"first": 1, "second": 1, "third": 3, "fourth": 3}
    assert second == {**steps, "broken": "CorruptObject: a full disk"}
    assert first == {
        **steps,
        "broken": "OtherWorkerFailed: worker 1 failed while writing the checkpoint of step 2: "
        "CorruptObject: a full disk",
    }


def save_three(folder: str, dies_at: int, after: bool) -> None:
    """Three checkpoints of a state that changes while each is written."""
    store = DyingStore(LocalStore(Path(folder)), dies_at, after)
    writer = CheckpointWriter(CheckpointFolder(store), ALONE)
    weights = torch.zeros(1000)
    for step in (1, 2, 3):
        weights.fill_(step)
        copied = writer.copies({"weights": weights})
        writer.start(step, lambda copied=copied: {"common.pt": to_bytes(copied)}, {})
        weights.fill_(-1)
        step_until_idle(writer, ALONE)
    writer.close()


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_kill_9_at_any_request_leaves_the_old_checkpoint_or_the_new(
    tmp_path: Path, after: bool
) -> None:
    dies_at, steps = 0, []
    while True:
        dies_at += 1
        folder = tmp_path / str(dies_at)
        process = FORK.Process(target=save_three, args=(str(folder), dies_at, after))
        process.start()
        process.join()
        checkpoints = CheckpointFolder(LocalStore(folder))
        found = checkpoints.latest_committed()
        if found is not None:
            assert found.skipped == ()
            weights = from_bytes(checkpoints.read(found, "common.pt"))["weights"]
            assert torch.equal(weights, torch.full((1000,), float(found.step)))
        steps.append(0 if found is None else found.step)
        if process.exitcode == 0:
            break
        assert process.exitcode == -9
    assert steps == sorted(steps) and {0, 1, 2, 3} == set(steps)
    assert dies_at >= 12


def train_and_die(corpus: str, folder: str, dies_at: int) -> None:
    """A run whose store ends its process by kill -9 in the middle of a write."""
    from tests.tiny_corpus import open_source
    from tests.tiny_training import parts_of

    torch.set_num_threads(1)
    store = DyingStore(LocalStore(Path(folder)), dies_at)
    with open_source(Path(corpus)) as source:
        pretrain(
            config_with(),
            PretrainData(source, parts_of(Path(corpus))),
            ALONE,
            checkpoints=CheckpointFolder(store),
            reporter=MemoryReporter(),
        )


def test_a_run_killed_while_a_checkpoint_is_written_resumes_bit_for_bit(
    data: PretrainData, corpus: Path, tmp_path: Path
) -> None:
    train(data, tmp_path / "whole", MemoryReporter())
    killed = tmp_path / "killed"
    process = warm_context().Process(target=train_and_die, args=(str(corpus), str(killed), 14))
    process.start()
    process.join()
    assert process.exitcode == -9
    assert train(data, killed, MemoryReporter()).last_epoch == 3
    assert_same(last_state(killed), last_state(tmp_path / "whole"))


def test_copies_lie_in_memory_that_is_allocated_once() -> None:
    state = {
        "weights": torch.ones(2, 3).T,
        "steps": [torch.tensor(3)],
        "pair": (1, "a"),
        "none": None,
    }
    memory = HostMemory()
    first = memory.copies(state)
    memory.wait()
    place = first["weights"].data_ptr()
    state["weights"].fill_(7)
    assert torch.equal(first["weights"], torch.ones(3, 2)), "what came later is not in it"
    assert first["weights"].stride() == state["weights"].stride()
    assert (first["steps"], first["pair"], first["none"]) == ([3], (1, "a"), None)
    second = memory.copies(state)
    assert second["weights"].data_ptr() == place and torch.equal(
        second["weights"], state["weights"]
    )
    state["weights"] = torch.zeros(4)
    assert torch.equal(memory.copies(state)["weights"], torch.zeros(4))
