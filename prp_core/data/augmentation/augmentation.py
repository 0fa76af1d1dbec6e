"""The protocol of an augmentation that changes pixels: one draw for a clip, one batched change.

Drawn once per clip, it changes all frames of the span alike, before input, target and attention
are taken from it: the decoder has to reconstruct the colours that the encoder sees, not others that
cannot be known from the input. (RSPNet's code augments whole clips in this way.)

Drawn once per frame, it changes the frames of the encoder's input alone: the published code of pace
prediction jitters the colour of each frame by itself, so that the difference of two frames no
longer reveals how far apart they were. Target and attention keep the unchanged frames: the jitter
of frames between those of the input cannot be predicted, and attention would take it for motion.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:  # a config is read where torch is not loaded
    import torch


@runtime_checkable
class Augmentation(Protocol):
    """A frozen config class that also knows how to draw and to change frames."""

    @property
    def is_on(self) -> bool:
        """Whether these settings can change a frame; if not, nothing is drawn or computed."""
        ...

    @property
    def per_frame(self) -> bool:
        """Whether each frame of the encoder's input has a draw of its own, or a clip has one."""
        ...

    def draw(self, *key: int | str) -> tuple[float, ...]:
        """The values for one clip, or for one frame: a pure function of `key`."""
        ...

    def apply(self, frames_NCHW: torch.Tensor, values_NV: torch.Tensor) -> torch.Tensor:
        """`frames_NCHW` (N, 3, H, W) in [0, 1], frame n changed by row n of `values_NV`.

        A new tensor of the same shape, dtype and range. A frame whose values change nothing stays
        equal to the bit.
        """
        ...
