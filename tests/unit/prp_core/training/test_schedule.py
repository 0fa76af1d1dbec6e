"""Learning-rate schedules against torch's own and by hand, and means that survive a resume."""

from __future__ import annotations

import math
import random

import pytest
import torch

from prp_core.training.learner import build_schedule
from prp_core.training.metrics import RunningMean, renamed
from prp_core.training.schedule import SCHEDULES, Schedule
from prp_core.training.training_config import TrainingConfig


def schedule(**changes: object) -> Schedule:
    values: dict[str, object] = {"num_epochs": 10, "learning_rate": 0.01, **changes}
    return build_schedule(TrainingConfig(**values), steps_per_epoch=4)  # type: ignore[arg-type]


def test_plateau_is_that_of_torch() -> None:
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimiser = torch.optim.SGD([parameter], lr=0.01)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimiser, factor=0.1, patience=3, min_lr=1e-7
    )
    ours = schedule(schedule="plateau", plateau_patience_epochs=3)
    draw = random.Random(0)
    factors = set()
    for epoch in range(60):
        loss = max(0.5, 1 - epoch / 20) * (1 + draw.choice([0, 0, 5e-5, 0.02]))
        theirs.step(loss)
        ours.end_epoch(loss)
        assert 0.01 * ours.factor(epoch) == pytest.approx(optimiser.param_groups[0]["lr"])
        factors.add(ours.factor(epoch))
    assert len(factors) >= 5 and min(factors) == pytest.approx(1e-5), (
        "it fell all the way to a rate of 1e-7"
    )


def test_plateau_waits_for_more_than_its_patience() -> None:
    ours = schedule(schedule="plateau", plateau_patience_epochs=2)
    factors = []
    for loss in (1.0, 0.9, 0.9, 0.9, 0.9, 0.8):
        ours.end_epoch(loss)
        factors.append(ours.factor(0))
    assert factors == pytest.approx([1, 1, 1, 1, 0.1, 0.1])


def test_plateau_resumes_where_it_was() -> None:
    losses = [1.0, 0.9, 0.9, 0.9, 0.95, 0.9, 0.9]
    whole = schedule(plateau_patience_epochs=2)
    for loss in losses:
        whole.end_epoch(loss)
    first, second = schedule(plateau_patience_epochs=2), schedule(plateau_patience_epochs=2)
    for loss in losses[:4]:
        first.end_epoch(loss)
    second.load_state(first.state())
    for loss in losses[4:]:
        second.end_epoch(loss)
    assert second.state() == whole.state() and second.factor(0) == whole.factor(0) == pytest.approx(
        0.1
    )


def test_cosine_falls_from_one_to_nothing() -> None:
    ours = schedule(schedule="cosine")
    assert ours.factor(0) == 1
    assert ours.factor(20) == pytest.approx(0.5)
    assert ours.factor(39) == pytest.approx(0.5 * (1 + math.cos(math.pi * 39 / 40)))
    ours.end_epoch(5.0)
    ours.end_epoch(6.0)
    assert ours.factor(0) == 1, "an epoch's loss means nothing to it"


@pytest.mark.parametrize("kind", SCHEDULES)
def test_every_schedule_can_warm_up(kind: str) -> None:
    ours = schedule(schedule=kind, warmup_epochs=2)
    assert [ours.factor(step) for step in range(8)] == pytest.approx([n / 8 for n in range(1, 9)])
    assert ours.factor(8) == 1
    assert ours.factor(24) == pytest.approx(0.5 if kind == "cosine" else 1)


def test_means_over_steps_survive_a_resume() -> None:
    draw = random.Random(1)
    steps = [{"train/loss": draw.random(), "train/rate_accuracy": draw.random()} for _ in range(7)]
    whole, first, second = RunningMean(), RunningMean(), RunningMean()
    for number, values in enumerate(steps):
        whole.add(values)
        (first if number < 3 else second).add(values)
        if number == 2:
            second.load_state(first.state())
    assert second.means() == whole.means()
    assert whole.means()["train/loss"] == pytest.approx(
        sum(values["train/loss"] for values in steps) / 7
    )
    whole.clear()
    assert whole.means() == {} and second.means() != {}


def test_renaming_leaves_out_what_has_another_prefix() -> None:
    assert renamed({"train/loss": 1.0, "time/wait": 2.0}, "train/", "epoch/") == {"epoch/loss": 1.0}
