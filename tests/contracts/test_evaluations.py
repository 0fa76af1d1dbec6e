"""What every evaluation of frozen features promises; a new field is tested by existing."""

from __future__ import annotations

import dataclasses
import json
import math
import typing

import pytest
import torch

from prp_core.evaluation.evaluation import FeatureEvaluation
from prp_core.evaluation.evaluation_config import Evaluations
from prp_core.evaluation.features import FeatureTable

CPU = torch.device("cpu")


def catalogue() -> dict[str, FeatureEvaluation]:
    """Each evaluation of features with its defaults, also where it is off by default."""
    found = {}
    for name, hint in typing.get_type_hints(Evaluations).items():
        for kind in typing.get_args(hint) or (hint,):
            if isinstance(kind, type) and isinstance(one := kind(), FeatureEvaluation):
                found[name] = one
    return found


ENTRIES = catalogue()


def table(num_rows: int, seed: int, spread: float = 0.3) -> FeatureTable:
    """Three classes around three directions."""
    generator = torch.Generator().manual_seed(seed)
    labels = [f"class {row % 3}" for row in range(num_rows)]
    centres = torch.eye(3, 8).repeat(num_rows // 3 + 1, 1)[:num_rows]
    own_N1D = torch.randn(num_rows, 1, 8, generator=generator)
    return FeatureTable(
        centres + spread * torch.randn(num_rows, 8, generator=generator),
        tuple(labels),
        tuple(f"{seed}/{row}" for row in range(num_rows)),
        tuple(f"{seed}/{row // 2}" for row in range(num_rows)),
        windows_N2D=own_N1D + spread / 3 * torch.randn(num_rows, 2, 8, generator=generator),
    )


def shuffled(one: FeatureTable) -> FeatureTable:
    order = list(range(len(one)))[::-1]
    return FeatureTable(
        one.features_ND[order],
        tuple(one.labels[row] for row in order),
        tuple(one.keys[row] for row in order),
        tuple(one.groups[row] for row in order),
        windows_N2D=None if one.windows_N2D is None else one.windows_N2D[order],
    )


def test_the_known_ones_are_found() -> None:
    assert {"retrieval", "linear_probe"} <= set(ENTRIES)


@pytest.mark.parametrize("name", ENTRIES)
def test_metrics_are_named_after_the_evaluation_and_are_reproducible(name: str) -> None:
    evaluation = ENTRIES[name]
    gallery, queries = table(60, 1), table(24, 2)
    metrics = evaluation.metrics(gallery, queries, CPU)
    assert metrics and all(metric.startswith(f"{name}/") for metric in metrics)
    assert all(math.isfinite(value) for value in metrics.values())
    assert evaluation.metrics(gallery, queries, CPU) == metrics
    shares = {metric: value for metric, value in metrics.items() if "/num_" not in metric}
    again = evaluation.metrics(gallery, shuffled(queries), CPU)
    assert {metric: again[metric] for metric in shares} == pytest.approx(shares)


@pytest.mark.parametrize("name", ENTRIES)
def test_good_features_score_higher_than_noise(name: str) -> None:
    evaluation = ENTRIES[name]
    good = evaluation.metrics(table(60, 1, 0.05), table(24, 2, 0.05), CPU)
    noise = evaluation.metrics(table(60, 1, 20.0), table(24, 2, 20.0), CPU)
    good.pop("label_free/effective_rank", None)  # it is as large for noise
    better = [metric for metric in good if good[metric] > noise[metric]]
    assert better and not [metric for metric in good if good[metric] < noise[metric]]


@pytest.mark.parametrize("name", ENTRIES)
def test_all_values_but_none_else_enter_the_protocol(name: str) -> None:
    evaluation = ENTRIES[name]
    facts = evaluation.facts()
    assert json.loads(json.dumps(facts)) == facts
    names = {field.name for field in dataclasses.fields(evaluation)}  # type: ignore[arg-type]
    assert names - {"ks"} <= set(facts), "which recalls are measured decides none of them"
    assert isinstance(evaluation.at_every_rung, bool)
