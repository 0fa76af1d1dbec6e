"""The videos of a run: its parts, and the sources that read them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from prp_core.data.frame_source import FrameSource
from prp_core.data.manifest import Parts
from prp_core.evaluation.downstream import EvaluationVideos


@dataclass(frozen=True)
class PretrainData:
    """The videos of a run: `parts` are training, validation and test, and `source` reads them.

    Where encoders are judged on another corpus, `judged_source` reads its videos, and `source`
    those that are trained on. `initial_encoder` reads the weights that the encoder starts from;
    None: it starts from random ones.
    """

    source: FrameSource
    parts: Parts
    judged_source: FrameSource | None = None
    initial_encoder: Callable[[], Mapping[str, torch.Tensor]] | None = None

    @property
    def validation(self) -> EvaluationVideos:
        """The validation part, measured against the gallery (`Parts.gallery`)."""
        return EvaluationVideos(
            self.parts.gallery, self.parts.val, self.judged_source or self.source
        )

    @property
    def test(self) -> EvaluationVideos:
        """The test part, measured against gallery and validation part together."""
        known = (*self.parts.gallery, *self.parts.val)
        return EvaluationVideos(known, self.parts.test, self.judged_source or self.source)
