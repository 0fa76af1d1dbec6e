"""The model of evaluated runs: its interval of a recall."""

from __future__ import annotations

import numpy as np
import pytest

from orchestrator.run_model import RunModel
from prp_core.evaluation.intervals import share_interval


@pytest.mark.parametrize(("num_groups", "recall"), [(8, 0.1), (8, 0.4), (12, 0.9), (60, 0.5)])
def test_the_interval_of_one_run_is_that_of_a_share(num_groups: int, recall: float) -> None:
    rate_G = np.random.default_rng(num_groups).beta(2 * recall, 2 - 2 * recall, num_groups)
    hits = np.random.default_rng(0).random(6 * num_groups) < np.repeat(rate_G, 6)
    groups = [f"g{group:02d}" for group in np.repeat(np.arange(num_groups), 6)]
    row = "".join("1" if hit else "0" for hit in hits)
    # alone and once, it tells nothing of the luck of training
    found = RunModel({"one": [row]}, groups, trained=[]).interval("one")
    expected = share_interval(hits.astype(float).tolist(), groups)
    assert found is not None and expected is not None
    assert (found.value, found.low, found.high) == pytest.approx(
        (expected.value, expected.low, expected.high), abs=1e-9
    )
