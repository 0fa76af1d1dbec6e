"""The linear probe finds the one minimum that there is, and says the same each time."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from prp_core.evaluation.features import FeatureTable
from prp_core.evaluation.linear_probe import LinearProbe, fit_linear_probe, probe_accuracy

CONFIG = LinearProbe(weight_decay=0.01, num_iterations=200)


def table(features_ND: torch.Tensor, labels: list[str]) -> FeatureTable:
    keys = tuple(str(number) for number in range(len(labels)))
    return FeatureTable(features_ND, tuple(labels), keys, keys)


def drawn(num: int, seed: int, noise: float = 1.0) -> FeatureTable:
    """Three overlapping clouds in 6 dimensions of very different scales."""
    generator = torch.Generator().manual_seed(seed)
    classes = torch.randint(3, (num,), generator=generator)
    centres = torch.tensor([[1.0, 0, 0, 0, 2, 0], [0, 1, 0, 1, 0, 0], [0, 0, 1, 0, 0, 1]])
    features_ND = (
        centres[classes] + noise * torch.randn(num, 6, generator=generator)
    ) * torch.tensor([1.0, 100, 0.01, 1, 5, 1]) + 7
    return table(features_ND, [f"class-{int(number)}" for number in classes])


def literal_fit(data: FeatureTable, weight_decay: float) -> tuple[np.ndarray, np.ndarray]:
    """The same objective by plain gradient descent in float64, from the formula."""
    features = data.features_ND.double().numpy()
    standard = (features - features.mean(0)) / features.std(0)
    labels = sorted(set(data.labels))
    target = np.eye(len(labels))[[labels.index(label) for label in data.labels]]
    weight, bias = np.zeros((len(labels), standard.shape[1])), np.zeros(len(labels))
    for _ in range(4000):
        scores = np.exp(standard @ weight.T + bias)
        slope = (scores / scores.sum(1, keepdims=True) - target) / len(target)
        weight -= 1.0 * (slope.T @ standard + weight_decay * weight)
        bias -= 1.0 * slope.sum(0)
    return weight, bias - bias.mean()


def test_it_is_the_minimum() -> None:
    data = drawn(120, 0)
    probe = fit_linear_probe(data, CONFIG)
    weight, bias = literal_fit(data, CONFIG.weight_decay)
    np.testing.assert_allclose(probe.weight_KD.numpy(), weight, atol=2e-3)
    np.testing.assert_allclose((probe.bias_K - probe.bias_K.mean()).numpy(), bias, atol=2e-3)


def test_the_same_features_give_the_same_probe() -> None:
    first, second = (fit_linear_probe(drawn(80, 1), CONFIG) for _ in range(2))
    assert torch.equal(first.weight_KD, second.weight_KD) and torch.equal(
        first.bias_K, second.bias_K
    )


def test_accuracy_is_that_of_the_predictions() -> None:
    train, test = drawn(200, 2), drawn(100, 3)
    guesses = fit_linear_probe(train, CONFIG).predict(test.features_ND)
    share = sum(guess == label for guess, label in zip(guesses, test.labels, strict=True)) / 100
    found = probe_accuracy(train, test, CONFIG)
    assert found["linear_probe/accuracy"] == pytest.approx(share)
    assert found["linear_probe/accuracy_low"] < share < found["linear_probe/accuracy_high"]
    assert 0.6 < share < 1
    assert probe_accuracy(train, drawn(100, 3, noise=0.01), CONFIG)["linear_probe/accuracy"] == 1


def test_labels_that_mean_nothing_are_guessed() -> None:
    train, test = drawn(200, 2), drawn(100, 3)
    order = torch.randperm(200, generator=torch.Generator().manual_seed(0)).tolist()
    shuffled = table(train.features_ND, [train.labels[row] for row in order])
    assert probe_accuracy(shuffled, test, CONFIG)["linear_probe/accuracy"] < 0.55


def test_scale_and_offset_of_a_feature_do_not_matter() -> None:
    train = drawn(120, 4)
    moved = table(train.features_ND * torch.tensor([3.0, 0.5, 20, 1, 1, 9]) - 2, list(train.labels))
    first, second = fit_linear_probe(train, CONFIG), fit_linear_probe(moved, CONFIG)
    torch.testing.assert_close(first.weight_KD, second.weight_KD, atol=5e-3, rtol=0)


def test_a_feature_that_never_varies_counts_for_nothing() -> None:
    train = drawn(120, 5)
    with_constant = table(
        torch.cat([train.features_ND, torch.full((120, 1), 3.0)], dim=1), list(train.labels)
    )
    probe = fit_linear_probe(with_constant, CONFIG)
    assert probe.weight_KD[:, -1].abs().max() == 0
    elsewhere_ND = with_constant.features_ND.clone()
    elsewhere_ND[:, -1] = -50.0
    assert torch.equal(probe.logits(with_constant.features_ND), probe.logits(elsewhere_ND))


def test_a_class_that_was_never_seen_is_missed() -> None:
    train, test = drawn(120, 6), drawn(50, 7, noise=0.01)
    renamed = table(
        test.features_ND, ["class-new" if label == "class-0" else label for label in test.labels]
    )
    expected = sum(label != "class-0" for label in test.labels) / 50
    assert probe_accuracy(train, renamed, CONFIG)["linear_probe/accuracy"] == pytest.approx(
        expected
    )
