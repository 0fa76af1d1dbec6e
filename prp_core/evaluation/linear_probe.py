"""The linear probe: the accuracy of a linear classifier on frozen features of unseen videos."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, ClassVar

from prp_core.eager_optimisers import eager
from prp_core.evaluation.evaluation import FeatureEvaluation
from prp_core.evaluation.intervals import share_metrics

if TYPE_CHECKING:  # a config is read where torch is not loaded
    import torch

    from prp_core.evaluation.features import FeatureTable

SMALLEST_DEVIATION = 1e-6


@dataclass(frozen=True, kw_only=True)
class LinearProbe(FeatureEvaluation):
    """A linear classifier, fitted on the gallery part and measured on the query part."""

    weight_decay: float = 1e-3
    """Weight decay of the classifier's weights (not its biases), at least 0."""

    num_iterations: int = 100
    """Iterations of L-BFGS at most."""

    at_every_rung: ClassVar[bool] = False
    needs_classes: ClassVar[bool] = True

    def metrics(
        self, gallery: FeatureTable, queries: FeatureTable, device: torch.device
    ) -> dict[str, float]:
        """See `probe_accuracy`."""
        return probe_accuracy(gallery, queries, self, device)

    def facts(self) -> dict[str, object]:
        """Its fields."""
        return asdict(self)


@dataclass(frozen=True)
class FittedProbe:
    """A fitted linear classifier of the classes in `labels`.

    Logits are ``standardised features @ weight_KD.T + bias_K``.
    """

    labels: tuple[str, ...]
    mean_D: torch.Tensor
    deviation_D: torch.Tensor
    weight_KD: torch.Tensor
    bias_K: torch.Tensor

    def logits(self, features_ND: torch.Tensor) -> torch.Tensor:
        """(N, classes), on the device where the probe was fitted."""
        standard_ND = (features_ND.to(self.mean_D) - self.mean_D) / self.deviation_D
        return standard_ND @ self.weight_KD.T + self.bias_K

    def predict(self, features_ND: torch.Tensor) -> list[str]:
        """The most likely class of each row."""
        return [self.labels[number] for number in self.logits(features_ND).argmax(dim=1).tolist()]


def fit_linear_probe(
    table: FeatureTable, config: LinearProbe, device: torch.device | str = "cpu"
) -> FittedProbe:
    """Fit by L-BFGS from zero: mean cross-entropy + weight_decay / 2 x |weights|^2.

    On standardised features. Nothing is drawn at random, and the problem is convex: the same
    features give the same probe. A feature that never varies counts for nothing.
    """
    import torch
    from torch.nn.functional import cross_entropy

    labels = tuple(sorted(set(table.labels)))
    number_of = {label: number for number, label in enumerate(labels)}
    targets_N = torch.tensor([number_of[label] for label in table.labels], device=device)
    features_ND = table.features_ND.to(device)
    mean_D = features_ND.mean(dim=0)
    deviation_D = features_ND.std(dim=0, correction=0)
    deviation_D = torch.where(deviation_D > SMALLEST_DEVIATION, deviation_D, torch.inf)
    standard_ND = (features_ND - mean_D) / deviation_D
    weight_KD = torch.zeros(len(labels), features_ND.shape[1], device=device, requires_grad=True)
    bias_K = torch.zeros(len(labels), device=device, requires_grad=True)
    optimiser = eager(torch.optim.LBFGS)(
        [weight_KD, bias_K], max_iter=config.num_iterations, line_search_fn="strong_wolfe"
    )

    def objective() -> torch.Tensor:
        optimiser.zero_grad()
        loss = (
            cross_entropy(standard_ND @ weight_KD.T + bias_K, targets_N)
            + config.weight_decay / 2 * weight_KD.square().sum()
        )
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    with torch.enable_grad():
        optimiser.step(objective)  # type: ignore[arg-type]
    return FittedProbe(labels, mean_D, deviation_D, weight_KD.detach(), bias_K.detach())


def probe_accuracy(
    gallery: FeatureTable,
    queries: FeatureTable,
    config: LinearProbe,
    device: torch.device | str = "cpu",
) -> dict[str, float]:
    """``linear_probe/accuracy`` on `queries` of a probe fitted on `gallery`, and its interval.

    A query of a class that the gallery lacks counts as a miss.
    """
    predicted = fit_linear_probe(gallery, config, device).predict(queries.features_ND)
    hits = [float(guess == label) for guess, label in zip(predicted, queries.labels, strict=True)]
    share = sum(hits) / len(queries)
    return share_metrics("linear_probe/accuracy", hits, queries.groups, share=share)
