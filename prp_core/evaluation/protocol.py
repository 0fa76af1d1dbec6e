"""The protocol hash: a digest of how features were measured; only equal ones compare."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

from prp_core.data.clip_config import ClipConfig
from prp_core.data.manifest import Manifest, VideoRecord
from prp_core.evaluation.evaluation_config import Evaluations
from prp_core.evaluation.views import EVALUATION_PRECISION, POOLING


def protocol_facts(
    clip: ClipConfig,
    evaluations: Evaluations,
    manifest: Manifest,
    gallery: Sequence[VideoRecord],
    queries: Sequence[VideoRecord],
) -> dict[str, object]:
    """All that the numbers of features depend on besides the encoder.

    A trial's clip length, rates and losses are not among it: every trial of a sweep is measured
    alike.
    """
    measured = {name: one.facts() for name, one in evaluations.of_features.items()}
    return {
        "views": {
            "num_clips": evaluations.views.num_clips,
            "clip_length": evaluations.views.clip_length,
        },
        "picture": {
            "resize_height": clip.resize_height,
            "resize_width": clip.resize_width,
            "crop": clip.crop,
            "place": "centre",
        },
        "pooling": POOLING,
        "precision": EVALUATION_PRECISION,
        **measured,
        "videos": manifest.videos_hash,
        "gallery": keys_digest(gallery),
        "queries": keys_digest(queries),
    }


def protocol_hash(
    clip: ClipConfig,
    evaluations: Evaluations,
    manifest: Manifest,
    gallery: Sequence[VideoRecord],
    queries: Sequence[VideoRecord],
) -> str:
    """12 hex digits over `protocol_facts`."""
    text = json.dumps(protocol_facts(clip, evaluations, manifest, gallery, queries), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def keys_digest(records: Sequence[VideoRecord]) -> str:
    """12 hex digits over the keys of a part, in any order."""
    return hashlib.sha256("\n".join(sorted(record.key for record in records)).encode()).hexdigest()[
        :12
    ]
