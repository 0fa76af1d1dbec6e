"""The discriminative branch: how well a clip's playback rate is named."""

from __future__ import annotations

import torch
from torch.nn.functional import cross_entropy


def rate_loss(rate_logits_BR: torch.Tensor, rate_labels_B: torch.Tensor) -> torch.Tensor:
    """Softmax cross-entropy in nats, mean over the batch, all rates alike; log(R) for a network
    that only guesses.
    """
    return cross_entropy(
        rate_logits_BR.to(torch.promote_types(rate_logits_BR.dtype, torch.float32)), rate_labels_B
    )


def rate_accuracy_over_chance(
    rate_logits_BR: torch.Tensor, rate_labels_B: torch.Tensor
) -> torch.Tensor:
    """Accuracy on a scale where guessing among the R rates is 0 and perfect is 1; below 0 is worse
    than guessing.

    Plain accuracies of runs with different rate sets do not compare: half right is chance for two
    rates and good for eight.
    """
    chance = 1 / rate_logits_BR.shape[1]
    accuracy = (rate_logits_BR.argmax(dim=1) == rate_labels_B).float().mean()
    return (accuracy - chance) / (1 - chance)


def rate_counts(rate_logits_BR: torch.Tensor, rate_labels_B: torch.Tensor) -> torch.Tensor:
    """How many clips of each true rate (row) were named as each rate (column): (R, R) float64."""
    rates_R = torch.arange(rate_logits_BR.shape[1], device=rate_labels_B.device)
    true_BR = rate_labels_B[:, None] == rates_R
    named_BR = rate_logits_BR.argmax(dim=1)[:, None] == rates_R
    return true_BR.double().T @ named_BR.double()
