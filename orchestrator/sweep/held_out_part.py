"""The test part of a sweep: measured once, with the confirming runs of the trial that was taken.

Its videos selected nothing, so that it alone can say what pretraining is worth.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from typing import Any

import ray

from orchestrator.comparison import baseline_verdicts
from orchestrator.config.run_config import to_tree
from orchestrator.confirmation import BaselineVerdict, Confirmation, ConfirmedRun
from orchestrator.coordinator.coordinator import CoordinatorHandle
from orchestrator.search.space import apply_space
from orchestrator.sweep.final_evaluation import HITS, Evaluated, measure_test, record_cost
from orchestrator.sweep.plan import Plan
from orchestrator.tracking.tags import protocol_tag
from orchestrator.trial.messages import TrialView

Say = Callable[[str], None]


def measure_test_once(
    plan: Plan,
    coordinator: CoordinatorHandle,
    winner: TrialView,
    confirmed: Confirmation,
    say: Say,
) -> str:
    """The figures of the test part, measured for `winner` once in the life of the sweep, as a line.

    Kept as the sweep's note ``test`` (and within ``confirmation``) with the time, which is also the
    tag ``prp.test_touched``; asked again, the stored figures are shown.
    """
    recorder = coordinator.recorder
    stored = ray.get(recorder.note.remote("test"))
    if stored is None:
        if not plan.parts.test:
            return "Test part:   empty, nothing was measured on it"
        say(f"measuring trial {winner.number} on the test part, once")
        seeds = next(one.seeds for one in confirmed.candidates if one.trial == winner.number)
        found = ray.get(measure_test(plan.spec, winner.number, tree_of(plan, winner), seeds))
        record_cost(plan.config, coordinator, "test", winner.number, found)
        when = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(found.ended))
        verdicts = test_verdicts(plan, found, confirmed)
        stored = json.dumps(
            {
                "trial": winner.number,
                "time": when,
                "protocol": plan.spec.tags[protocol_tag("test")],
                "metrics": found.metrics,
                "verdicts": [one.as_json() for one in verdicts],
            }
        )
        ray.get(recorder.note.remote("test", stored))
        ray.get(recorder.log_trial.remote(winner.number, found.metrics))
        ray.get(recorder.log_sweep.remote(found.metrics))
    test = json.loads(stored)
    confirmation = json.loads(ray.get(recorder.note.remote("confirmation")) or "{}")
    confirmation["test"] = test["metrics"]
    if test["trial"] == winner.number:
        confirmation["test_baselines"] = test.get("verdicts", [])
    ray.get(recorder.note.remote("confirmation", json.dumps(confirmation)))
    touched = f"{test['time']}, trial {test['trial']}"
    ray.get(recorder.tag_sweep.remote({"prp.test_touched": touched}))
    return line_of_test_part(test, winner.number, plan.config.sweep.objective)


def test_verdicts(
    plan: Plan, found: Evaluated, confirmed: Confirmation
) -> tuple[BaselineVerdict, ...]:
    """How the confirming runs of the trial that was taken compare with the baselines on the test
    part, which selected nothing.
    """
    runs = [ConfirmedRun(**row) for row in json.loads(found.files[HITS])]
    group_of = {record.key: record.group or record.key for record in plan.parts.test}
    groups = [group_of[key] for key in sorted(group_of)]
    return baseline_verdicts(runs, groups, luck=confirmed.luck, taken_of=len(confirmed.candidates))


def line_of_test_part(test: Mapping[str, Any], winner: int, objective: str) -> str:
    """The stored figures of the test part as a line; says so where they are not `winner`'s."""
    metrics = test["metrics"]
    names = {
        "": objective,
        "random initialisation ": f"baseline/random_init/{objective}",
        "fine-tuned recognition ": "recognition/accuracy",
    }
    figures = [
        f"{title}{metrics[f'test/{name}']:.3f}"
        for title, name in names.items()
        if f"test/{name}" in metrics
    ]
    other = (
        ""
        if test["trial"] == winner
        else f"; they are not trial {winner}'s: the test part is measured once"
    )
    protocol = f", protocol {test['protocol']}" if test.get("protocol") else ""
    return (
        f"Test part:   trial {test['trial']}, {objective} {', '.join(figures)} "
        f"(measured once, {test['time']}{protocol}{other})"
    )


def tree_of(plan: Plan, view: TrialView) -> dict[str, Any]:
    """The config of a trial as a plain dict."""
    return to_tree(apply_space(plan.config, view.values))
