"""The config of a sweep whose videos have no class: its objective becomes a label-free one."""

from __future__ import annotations

from typing import Any

from orchestrator.config.run_config import RunConfig, with_values
from orchestrator.config.sweep_config import LABEL_FREE_OBJECTIVE
from prp_core.data.manifest import Parts

DECIDED_BY_LABELS = (
    "sweep.objective",
    "evaluation.label_free",
    "evaluation.linear_probe",
    "evaluation.recognition",
    "evaluation.time_panel",
)
"""The paths that `without_labels` sets."""


def without_labels(config: RunConfig, split: Parts) -> tuple[RunConfig, list[str]]:
    """(`config`, what a person is told of it) for the videos of `split`: as it is where any video
    that encoders are judged on has a class, else with the label-free objective, and without the
    probe, the fine-tuning and the time panel, which need classes.
    """
    if any(record.label is not None for record in (*split.gallery, *split.val, *split.test)):
        return config, []
    from orchestrator.report.judged_how import CORRELATION  # loads pyarrow and Optuna

    values: dict[str, Any] = {"sweep.objective": LABEL_FREE_OBJECTIVE, "evaluation.label_free": {}}
    if config.evaluation.label_free is not None:
        del values["evaluation.label_free"]
    if config.sweep.is_label_free:
        del values["sweep.objective"]
    left_out = (f"evaluation.{name}" for name in ("linear_probe", "recognition", "time_panel"))
    config = with_values(config, {**values, **dict.fromkeys(left_out)})
    return config, [
        "no video has a class: trials are ranked label-free, by "
        f"{config.sweep.objective}, which asks whether the first third of a video finds its own "
        "last third among all others; linear probe, fine-tuning and time panel need classes and "
        f"are left out. {CORRELATION}"
    ]
