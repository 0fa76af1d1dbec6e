"""The config of a sweep whose videos have no class: its objective becomes a label-free one."""

from __future__ import annotations

from orchestrator.config.run_config import RunConfig, with_values
from orchestrator.config.sweep_config import LABEL_FREE_OBJECTIVE
from prp_core.data.manifest import Parts

DECIDED_BY_LABELS = (
    "sweep.objective",
    "evaluation.label_free",
    "evaluation.linear_probe",
    "evaluation.recognition",
)
"""The paths that `without_labels` sets."""


def without_labels(config: RunConfig, split: Parts) -> tuple[RunConfig, list[str]]:
    """(`config`, what a person is told of it) for the videos of `split`: as it is where any video
    that encoders are judged on has a class, else with the label-free objective, and without the
    probe and the fine-tuning, which need classes.
    """
    if any(record.label is not None for record in (*split.gallery, *split.val, *split.test)):
        return config, []
    values = {"sweep.objective": LABEL_FREE_OBJECTIVE, "evaluation.label_free": {}}
    if config.evaluation.label_free is not None:
        del values["evaluation.label_free"]
    if config.sweep.is_label_free:
        del values["sweep.objective"]
    left_out = {"evaluation.linear_probe": None, "evaluation.recognition": None}
    config = with_values(config, {**values, **left_out})
    return config, [
        "no video has a class: trials are ranked label-free, by "
        f"{config.sweep.objective}, which asks whether the first third of a video finds its own "
        "last third among all others; linear probe and fine-tuning need classes and are left out. "
        "What this says of recall with classes is in the documentation (data.md)"
    ]
