"""Protocol hashes: digests of how figures were measured; only equal ones compare.

Each kind of figure has its own, over what decides it and nothing else: the recipe of the linear
probe is in that of its accuracy, and not in that of a retrieval.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from prp_core.data.clip_config import ClipConfig
from prp_core.data.manifest import VideoRecord
from prp_core.evaluation.evaluation_config import Evaluations
from prp_core.evaluation.views import EVALUATION_PRECISION, POOLING

PIXEL_SIDE = 28
"""The longest side, in pixels, that the features of a pixel baseline are averaged down to."""


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """What figures depend on besides the encoder: `queries` against `gallery`, by `evaluations`.

    `pixels` says what decides the pixels of a decoded frame: the reader, or the shards. A trial's
    clip length, rates and losses are not among it: every trial of a sweep is measured alike.
    """

    clip: ClipConfig
    evaluations: Evaluations
    pixels: Mapping[str, object]
    gallery: Sequence[VideoRecord]
    queries: Sequence[VideoRecord]

    @property
    def facts(self) -> dict[str, object]:
        """What decides every figure."""
        views = self.evaluations.views
        return {
            "views": {"num_clips": views.num_clips, "clip_length": views.clip_length},
            "picture": {
                "resize_height": self.clip.resize_height,
                "resize_width": self.clip.resize_width,
                "crop": self.clip.crop,
                "place": "centre",
            },
            "precision": EVALUATION_PRECISION,
            "pixels": dict(self.pixels),
            "gallery": videos_digest(self.gallery),
            "queries": videos_digest(self.queries),
        }

    def of_features(self, name: str) -> dict[str, object]:
        """What decides the figures of the evaluation of frozen features called `name`."""
        measured = self.evaluations.of_features[name].facts()
        return {**self.facts, "pooling": POOLING, name: measured}

    def of_time_panel(self) -> dict[str, object] | None:
        """What decides the time panel's figures; None where that is off."""
        panel = self.evaluations.time_panel
        if panel is None:
            return None
        chosen = {"max_videos": panel.max_videos}
        return {**self.facts, "pooling": POOLING, "time_panel": chosen}

    def of_baselines(self, name: str, encoder: str, seed: int) -> dict[str, object]:
        """What decides the baselines' figures of that evaluation: `encoder` untrained, with the
        weights of `seed`, and the features of pixels.
        """
        untrained = {"encoder": encoder, "seed": seed}
        return {
            **self.of_features(name),
            "baselines": {"random_init": untrained, "pixel_side": PIXEL_SIDE},
        }

    def of_recognition(self) -> dict[str, object] | None:
        """What decides the accuracy after fine-tuning; None where that is off."""
        recipe = self.evaluations.recognition
        return None if recipe is None else {**self.facts, "recognition": asdict(recipe)}


def protocol_hashes(
    measurement: Measurement, ranked_by: str, *, encoder: str, seed: int
) -> dict[str, str]:
    """The hash of each kind of figure: "" is that of `ranked_by`, the evaluation of the objective;
    ``baseline`` that of the baselines by the same; ``recognition``, ``time_panel``, and each other
    evaluation of features by its name, its baselines as ``baseline.NAME``.
    """
    facts = {
        "": measurement.of_features(ranked_by),
        "baseline": measurement.of_baselines(ranked_by, encoder, seed),
    }
    has_classes = any(one.label is not None for one in (*measurement.gallery, *measurement.queries))
    for name, evaluation in measurement.evaluations.of_features.items():
        if name != ranked_by and (has_classes or not evaluation.needs_classes):
            facts[name] = measurement.of_features(name)
            facts[f"baseline.{name}"] = measurement.of_baselines(name, encoder, seed)
    if (recognition := measurement.of_recognition()) is not None:
        facts["recognition"] = recognition
    if (panel := measurement.of_time_panel()) is not None:
        facts["time_panel"] = panel
    return {name: digest(entry) for name, entry in facts.items()}


def digest(facts: Mapping[str, object]) -> str:
    """12 hex digits over `facts`, which are JSON values."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:12]


def videos_digest(records: Sequence[VideoRecord]) -> str:
    """12 hex digits over a part: content, length and class of each video, in any order.

    The name of a video decides nothing, and stands for its content where that has no sha256.
    """
    rows = sorted(
        json.dumps([record.sha256 or record.key, record.num_frames, record.label])
        for record in records
    )
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()[:12]
