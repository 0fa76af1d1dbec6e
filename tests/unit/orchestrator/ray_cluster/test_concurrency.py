"""Where rungs are evaluated, and how many trials a cluster holds beside the evaluations: tables."""

from __future__ import annotations

from typing import Any

import pytest

from cluster.capacity import ClusterShape, NodeShape
from orchestrator.config.run_config import RunConfig, with_values
from orchestrator.ray_cluster.concurrency import (
    EvaluationPlan,
    num_evaluators,
    plan_concurrency_on,
    plan_evaluation,
)
from prp_core.errors import UserError


@pytest.mark.parametrize(
    ("evaluator", "alone", "beside", "same_device", "where", "words"),
    [
        (
            "auto",
            2,
            1,
            True,
            "worker",
            "no room for a task",
        ),  # the laptop: a place for a task would cost a trial
        ("auto", 8, 8, True, "task", "room beside the trials"),
        ("auto", 8, 8, False, "worker", "resources.evaluator_gpus is 0"),
        ("task", 2, 1, False, "task", "while training goes on"),
        ("worker", 8, 8, True, "worker", "by the workers"),
    ],
)
def test_where_rungs_are_evaluated(
    evaluator: str, alone: int, beside: int, same_device: bool, where: str, words: str
) -> None:
    plan = plan_evaluation(
        evaluator, trials_alone=alone, trials_beside=beside, same_device=same_device
    )
    assert plan.where == where and words in plan.reason
    assert plan.max_at_once == (num_evaluators(beside) if where == "task" else 0)


@pytest.mark.parametrize(
    ("settings", "nodes", "trials", "where"),
    [
        ({"sweep.evaluator": "worker"}, [NodeShape(64, 0, 1, 1)], 40, "worker"),
        ({}, [NodeShape(2, 0, 1, 1)], 2, "worker"),
        (
            {},
            [NodeShape(64, 0, 1, 1)],
            40,
            "task",
        ),  # no more trials than are asked for: there is room
        ({"sweep.evaluator": "task"}, [NodeShape(2, 0, 1, 1)], 1, "task"),
        ({"sweep.evaluator": "task"}, [NodeShape(1, 0, 1, 1)], 1, "task"),  # they take turns
        ({"resources.gpus_per_worker": 1.0}, [NodeShape(48, 8, 1, 1)], 8, "worker"),
        (
            {
                "resources.gpus_per_worker": 1.0,
                "resources.evaluator_gpus": 0.5,
                "sweep.evaluator": "task",
            },
            [NodeShape(48, 8, 1, 1)],
            7,
            "task",
        ),
    ],
)
def test_room_for_evaluations_is_taken_off_the_trials(
    settings: dict[str, Any], nodes: list[NodeShape], trials: int, where: str
) -> None:
    room = plan_concurrency_on(
        ClusterShape(tuple(nodes)), with_values(RunConfig(), {"sweep.num_trials": 40, **settings})
    )
    assert (min(40, room.capacity.max_concurrent_trials), room.evaluation.where) == (trials, where)


def test_an_evaluation_that_fits_nowhere_is_refused_before_anything_runs() -> None:
    config = with_values(RunConfig(), {"sweep.evaluator": "task", "resources.evaluator_gpus": 1.0})
    with pytest.raises(
        UserError,
        match=r"sweep.evaluator = 'task', but the cluster holds no evaluation: one needs 1 worker "
        r"x 1 CPU, 1 GPU",
    ):
        plan_concurrency_on(ClusterShape((NodeShape(8, 0, 1, 1),)), config)


def test_workers_that_evaluate_need_no_task() -> None:
    assert EvaluationPlan("worker").max_at_once == 0
