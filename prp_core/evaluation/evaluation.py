"""The protocol of an evaluation of frozen features."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Protocol, runtime_checkable

if TYPE_CHECKING:  # a config is read where torch is not loaded
    import torch

    from prp_core.evaluation.features import FeatureTable


@runtime_checkable
class FeatureEvaluation(Protocol):
    """A frozen dataclass that measures features; its fields are its config values.

    It is listed by one field of `Evaluations` (`evaluation_config.py`).
    """

    at_every_rung: ClassVar[bool]
    """Whether it runs at every rung, or after the last epoch alone."""

    needs_classes: ClassVar[bool] = True
    """Whether it compares classes: it is left out where no video has one."""

    def metrics(
        self, gallery: FeatureTable, queries: FeatureTable, device: torch.device
    ) -> dict[str, float]:
        """Metrics named ``<evaluation>/...``, from the features of both parts.

        What needs fitting is fitted on `gallery` and measured on `queries`, on `device`.
        """
        ...

    def facts(self) -> dict[str, object]:
        """All that decides its numbers, as JSON values: a part of their protocol hash."""
        ...
