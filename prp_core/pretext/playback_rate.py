"""The playback-rate task: classify the rate that a clip is played at (method §1, §4.1).

The discriminative branch of PRP. The rates of this task are those that spans are drawn at, also
where the task is off.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from prp_core.checks import check
from prp_core.errors import UserError
from prp_core.pretext.task import PretextTask, SpanRows, Tables

if TYPE_CHECKING:
    import torch
    from torch import nn

CONFUSION = "rate_confusion/"


def parse_rates(text: str, path: str = "pretext.playback_rate.rates") -> tuple[int, ...]:
    """The rates of a set written as ``"1-2-4-8"``: at least two, distinct, positive, ascending.

    Raises `UserError` that names `path`. A set is text, not a tuple, because it must survive in a
    database of trials.
    """
    try:
        rates = tuple(int(part) for part in text.split("-"))
    except (ValueError, AttributeError):
        raise UserError(
            f"{path} = {text!r}: write a rate set as whole numbers joined by '-', for "
            "example '1-2-4-8'"
        ) from None
    check(
        len(rates) >= 2,
        path,
        text,
        "needs at least two rates, for example '1-2': one rate leaves nothing to tell apart",
    )
    check(all(rate >= 1 for rate in rates), path, text, "rates are whole numbers from 1 up")
    check(
        list(rates) == sorted(set(rates)),
        path,
        text,
        "rates are distinct and ascending, for example '1-2-4-8'",
    )
    return rates


@dataclass(frozen=True, kw_only=True)
class PlaybackRate(PretextTask):
    """Classify the playback rate of a clip; a rate's class is its position in the rate set."""

    rates: str = "1-2-4-8"
    """The rate set: native frames from one frame of a clip to the next, joined by '-'."""

    loss_weight: float = 0.1
    """Weight of the cross-entropy in the total loss, at least 0; 0 switches the task off."""

    loss_name: ClassVar[str] = "train/rate_loss"

    def __post_init__(self) -> None:
        parse_rates(self.rates)
        check(
            self.loss_weight >= 0,
            "pretext.playback_rate.loss_weight",
            self.loss_weight,
            "must not be negative",
        )

    @property
    def rate_list(self) -> tuple[int, ...]:
        """The rates as numbers; a rate's class label is its position here."""
        return parse_rates(self.rates)

    def tables(self, spans: SpanRows) -> Tables:
        """The rate labels, (B,)."""
        return {"labels": [sample.rate_label for sample in spans.samples]}

    def targets(
        self, frames_NCHW: torch.Tensor, tables: Mapping[str, torch.Tensor]
    ) -> torch.Tensor:
        """The rate labels: int64 (B,)."""
        return tables["labels"]

    def head(self, channels: int) -> nn.Module:
        """A linear classifier of the rates."""
        from prp_core.pretext.heads import ClipClassifier

        return ClipClassifier(channels, len(self.rate_list))

    def loss(self, output: torch.Tensor, targets: Any) -> torch.Tensor:
        """See `rate_loss`."""
        return rate_loss(output, targets)

    @property
    def metric_names(self) -> tuple[str, ...]:
        """Accuracy, accuracy over chance, and the confusion matrix as shares of all clips."""
        pairs = (f"{true}_as_{other}" for true in self.rate_list for other in self.rate_list)
        return (
            "train/rate_accuracy",
            "train/rate_accuracy_over_chance",
            *(CONFUSION + pair for pair in pairs),
        )

    def metrics(self, output: torch.Tensor, targets: Any) -> torch.Tensor:
        """See `metric_names`."""
        import torch

        accuracy = (output.argmax(dim=1) == targets).double().mean()
        over_chance = rate_accuracy_over_chance(output, targets).double()
        confusion_RR = rate_counts(output, targets) / len(targets)
        return torch.cat([torch.stack([accuracy, over_chance]), confusion_RR.flatten()])

    def epoch_metrics(self, means: Mapping[str, float]) -> dict[str, float]:
        """The confusion matrix, each row as shares of the clips of that true rate.

        ``rate_confusion/<true>_as_<predicted>``; a rate that was never drawn is left out.
        """
        shares = {name: value for name, value in means.items() if name.startswith(CONFUSION)}
        totals: dict[str, float] = {}
        for name, value in shares.items():
            true = name.partition("_as_")[0]
            totals[true] = totals.get(true, 0.0) + value
        return {
            name: value / totals[name.partition("_as_")[0]]
            for name, value in shares.items()
            if totals[name.partition("_as_")[0]] > 0
        }


def rate_loss(rate_logits_BR: torch.Tensor, rate_labels_B: torch.Tensor) -> torch.Tensor:
    """Softmax cross-entropy in nats, mean over the batch; log(R) for pure guessing."""
    import torch
    from torch.nn.functional import cross_entropy

    return cross_entropy(
        rate_logits_BR.to(torch.promote_types(rate_logits_BR.dtype, torch.float32)), rate_labels_B
    )


def rate_accuracy_over_chance(
    rate_logits_BR: torch.Tensor, rate_labels_B: torch.Tensor
) -> torch.Tensor:
    """Accuracy on a scale where guessing among the R rates is 0 and perfect is 1.

    Below 0 is worse than guessing. Plain accuracies of runs with different rate sets do not
    compare: half right is chance for two rates and good for eight.
    """
    chance = 1 / rate_logits_BR.shape[1]
    accuracy = (rate_logits_BR.argmax(dim=1) == rate_labels_B).float().mean()
    return (accuracy - chance) / (1 - chance)


def rate_counts(rate_logits_BR: torch.Tensor, rate_labels_B: torch.Tensor) -> torch.Tensor:
    """The confusion matrix: clips of each true rate (row) by predicted rate (column).

    (R, R) float64.
    """
    import torch

    rates_R = torch.arange(rate_logits_BR.shape[1], device=rate_labels_B.device)
    true_BR = rate_labels_B[:, None] == rates_R
    predicted_BR = rate_logits_BR.argmax(dim=1)[:, None] == rates_R
    return true_BR.double().T @ predicted_BR.double()
