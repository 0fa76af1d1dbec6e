"""When checkpoints are written: by time, and when the machine of any worker is to go away."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from prp_core.data.object_store import LocalStore
from prp_core.reporting import MemoryReporter
from prp_core.training.checkpoint import CheckpointFolder
from prp_core.training.loop import pretrain
from prp_core.training.pretrain_data import PretrainData
from prp_core.training.watchdog import Signals
from prp_core.world import World
from tests.tiny_corpus import open_source
from tests.tiny_training import ALONE, config_with, parts_of
from tests.worker_group import run_workers


@dataclass
class MinuteReporter(MemoryReporter):
    """So many minutes pass with every step."""

    minutes_a_step: float = 1.0
    now: float = 0.0
    steps: set[int] = field(default_factory=set)

    def log(self, metrics: Mapping[str, float], *, step: int) -> None:
        self.now += 60.0 * self.minutes_a_step * (step not in self.steps)
        self.steps.add(step)


def committed_steps(
    data: PretrainData,
    folder: Path,
    world: World,
    signals: Signals | None = None,
    *,
    minutes_a_step: float = 1.0,
    **training: Any,
) -> list[int]:
    """The steps of all checkpoints of a run of two steps an epoch for three epochs."""
    reporter = MinuteReporter(minutes_a_step=minutes_a_step)
    values = {"checkpoint_every_steps": 1000, "num_checkpoints_kept": 100, **training}
    pretrain(
        config_with(**values),
        data,
        world,
        checkpoints=CheckpointFolder(LocalStore(folder), num_kept=100),
        reporter=reporter,
        signals=signals,
        clock=lambda: reporter.now,
    )
    return sorted(int(path.parent.name[5:]) for path in folder.rglob("commit.json"))


@pytest.mark.parametrize(
    ("minutes", "steps"),
    [
        (0.0, [2, 6]),  # the rungs after the first and the last epoch
        (1.5, [2, 5, 6]),  # 1.5 minutes after step 2, before step 5
        (1.0, [2, 4, 6]),  # step 4 ends an epoch that is no rung
        (60.0, [2, 6]),
    ],
)
def test_checkpoints_go_by_time(
    data: PretrainData, tmp_path: Path, minutes: float, steps: list[int]
) -> None:
    found = committed_steps(data, tmp_path, ALONE, checkpoint_every_minutes=minutes)
    assert found == steps


@pytest.mark.parametrize(
    ("minutes_a_step", "first_rung", "steps"),
    [
        (1.0, 1, [2, 4, 6]),  # the one before took milliseconds, and a minute has gone by
        (0.0, 1, [2, 6]),  # rungs alone
        (0.0, 3, [2, 6]),  # what one costs is not known before the first
    ],
)
def test_an_epochs_end_is_saved_where_that_costs_a_hundredth_of_the_time(
    data: PretrainData, tmp_path: Path, minutes_a_step: float, first_rung: int, steps: list[int]
) -> None:
    found = committed_steps(
        data,
        tmp_path,
        ALONE,
        minutes_a_step=minutes_a_step,
        checkpoint_every_steps=0,
        checkpoint_every_minutes=0.0,
        first_rung_epochs=first_rung,
    )
    assert found == steps


def test_a_notice_commits_once_after_the_step_that_is_under_way(
    data: PretrainData, tmp_path: Path
) -> None:
    signals = Signals(is_preempted=lambda: True)
    found = committed_steps(data, tmp_path, ALONE, signals, checkpoint_every_minutes=0.0)
    assert found == [1, 2, 6]


def in_a_group(world: World, corpus: str, folder: str) -> tuple[list[int], int]:
    """The second worker hears a notice before its third step; the first one has the clock. Then,
    of another run, the steps after which each worker leaves: the first is told so in the fourth,
    the second is never asked.
    """
    with open_source(Path(corpus)) as source:
        data = PretrainData(source, parts_of(Path(corpus)))
        return (
            hears_a_notice(data, world, Path(folder) / "kept"),
            epochs_until_told_to_leave(data, world, Path(folder) / "left"),
        )


def epochs_until_told_to_leave(data: PretrainData, world: World, folder: Path) -> int:
    """How many epochs of two steps a run ends on this worker that could end three."""
    told = iter([False, False, False, True])
    watched = Signals(should_leave=lambda: next(told) if world.is_first else False)
    outcome = pretrain(
        config_with(first_rung_epochs=3, num_epochs=3),
        data,
        world,
        checkpoints=CheckpointFolder(LocalStore(folder)),
        reporter=MemoryReporter(),
        signals=watched,
    )
    assert outcome.stopped_early
    return outcome.last_epoch


def hears_a_notice(data: PretrainData, world: World, folder: Path) -> list[int]:
    heard = iter([False, False, True, True, True, True])
    signals = Signals(is_preempted=lambda: world.rank == 1 and next(heard))
    return committed_steps(
        data,
        folder,
        world,
        signals,
        checkpoint_every_minutes=3.5,
        first_rung_epochs=3,
        num_epochs=3,
    )


def test_all_workers_commit_when_one_hears_a_notice(corpus: Path, tmp_path: Path) -> None:
    answers = run_workers(in_a_group, tmp_path / "group", str(corpus), str(tmp_path))
    assert [steps for steps, _ in answers] == [[3, 6], [3, 6]], (
        "3.5 minutes count from the checkpoint of the notice"
    )
    assert [num_epochs for _, num_epochs in answers] == [1, 1], (
        "both leave after the fourth step, before the second epoch ends"
    )
