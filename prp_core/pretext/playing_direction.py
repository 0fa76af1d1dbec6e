"""The playing-direction task: classify whether a clip is played forwards or backwards.

The "arrow of time" (Pickup et al., CVPR 2014; Wei et al., CVPR 2018). Half of the spans are read
from their last native frame to their first. It is the whole span that is reversed, before anything
is made of it: clip, reconstruction target and motion attention all come from the reversed span. So
the other tasks see a video that happens to run backwards, and their targets stay aligned with the
clip; reversing the clip's frames alone would shift them against the target by ``rate * (1 - 1 /
upsampling)`` native frames, and the decoder would have to guess the direction first. The price is
that the other tasks, too, learn from half of their spans backwards.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from prp_core.checks import check
from prp_core.pretext.task import PretextTask, SpanRows, Tables

if TYPE_CHECKING:
    import torch
    from torch import nn


@dataclass(frozen=True, kw_only=True)
class PlayingDirection(PretextTask):
    """Classify the direction that a clip is played in: class 1 is backwards."""

    loss_weight: float = 0.0
    """Weight of the cross-entropy in the total loss, at least 0; 0 switches the task off."""

    loss_name: ClassVar[str] = "train/direction_loss"

    def __post_init__(self) -> None:
        check(
            self.loss_weight >= 0,
            "pretext.playing_direction.loss_weight",
            self.loss_weight,
            "must not be negative",
        )

    @property
    def reversed_share(self) -> float:
        """Half: each direction is as likely, drawn for (seed, epoch, index) of the sample."""
        return 0.5

    def tables(self, spans: SpanRows) -> Tables:
        """The direction of each span, 1 for backwards: (B,)."""
        return {"labels": [int(sample.is_reversed) for sample in spans.samples]}

    def targets(
        self, frames_NCHW: torch.Tensor, tables: Mapping[str, torch.Tensor]
    ) -> torch.Tensor:
        """The directions: int64 (B,)."""
        return tables["labels"]

    def head(self, channels: int) -> nn.Module:
        """A linear classifier of the two directions."""
        from prp_core.pretext.heads import ClipClassifier

        return ClipClassifier(channels, 2)

    def loss(self, output: torch.Tensor, targets: Any) -> torch.Tensor:
        """See `direction_loss`."""
        return direction_loss(output, targets)

    @property
    def metric_names(self) -> tuple[str, ...]:
        """The accuracy; 0.5 is chance."""
        return ("train/direction_accuracy",)

    def metrics(self, output: torch.Tensor, targets: Any) -> torch.Tensor:
        """See `metric_names`."""
        return (output.argmax(dim=1) == targets).double().mean()[None]


def direction_loss(logits_B2: torch.Tensor, labels_B: torch.Tensor) -> torch.Tensor:
    """Softmax cross-entropy in nats, mean over the batch; log 2 for a network that only guesses."""
    from torch.nn.functional import cross_entropy

    return cross_entropy(logits_B2.float(), labels_B)
