"""The benchmark of several workers, and the preset for them."""

from __future__ import annotations

from benchmarks.training.worker_scaling import Cost, table
from orchestrator.config.run_config import load_config, to_tree
from prp_core.training.progress_state import flatten


def test_efficiency_is_one_workers_cost_over_several() -> None:
    lines = table([Cost(1, 0.010, 100.0), Cost(4, 0.0125, 300.0)])
    assert lines[2:] == [
        "| 1 | 10.00 | 1.00 | 100.0 | 1.00 |",
        "| 4 | 12.50 | 0.80 | 300.0 | 0.75 |",
    ]


def test_the_preset_of_64_clips_scales_the_rate_and_nothing_else() -> None:
    one, many = (
        flatten(to_tree(load_config(name))) for name in ("ucf101_r3d", "ucf101_r3d_batch64")
    )
    changed = {path for path in one if one[path] != many[path]}
    assert changed == {
        "training.batch_size",
        "training.learning_rate",
        "training.warmup_epochs",
        "resources.num_workers",
    }
    factor = many["training.batch_size"] / one["training.batch_size"]
    assert many["training.learning_rate"] == factor * one["training.learning_rate"]
    assert many["training.warmup_epochs"] > 0 and many["resources.num_workers"] == factor
