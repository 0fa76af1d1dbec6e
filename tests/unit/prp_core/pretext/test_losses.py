"""Both losses against the published numbers (method §8.4) and slow transcriptions."""

from __future__ import annotations

import math

import pytest
import torch

from prp_core.pretext.motion_attention import motion_attention
from prp_core.pretext.playback_rate import rate_accuracy_over_chance, rate_loss
from prp_core.pretext.slow_motion import reconstruction_loss
from tests.formula_clip import clip_of_span, formula_span, target_of_span


@pytest.mark.parametrize(
    ("rate", "dpau", "gauss", "none", "dpau_all_frames"),
    [
        (1, 0.022700, 0.019193, 0.020604, 0.022479),
        (2, 0.023532, 0.020195, 0.021343, 0.023532),
        (4, 0.025914, 0.020884, 0.021778, 0.025914),
        (8, 0.025412, 0.020863, 0.021708, 0.025412),
    ],
)
def test_published_losses_of_a_grey_reconstruction(
    rate: int, dpau: float, gauss: float, none: float, dpau_all_frames: float
) -> None:
    span = formula_span(16 * rate)
    target, supervised = target_of_span(span, rate)
    grey = torch.full_like(target, 0.5)
    weights = {
        mode: motion_attention(span, num_output_frames=32, mode=mode, published=True)
        for mode in ("dpau", "gauss", "none")
    }
    losses = [
        float(reconstruction_loss(grey, target, weights[mode], supervised))
        for mode in ("dpau", "gauss", "none")
    ]
    losses.append(
        float(reconstruction_loss(grey, target, weights["dpau"], torch.ones_like(supervised)))
    )
    assert losses == pytest.approx([dpau, gauss, none, dpau_all_frames], abs=1e-6)


@pytest.mark.parametrize(
    ("rate", "clip_mean", "target_mean", "second", "last"),
    [
        (1, 0.510193, 0.510227, 0.510978, 0.699373),
        (2, 0.511176, 0.511211, 0.521956, 0.446961),
        (4, 0.511891, 0.511843, 0.543646, 0.602280),
        (8, 0.511902, 0.511895, 0.585188, 0.675787),
    ],
)
def test_published_means_of_clip_and_target(
    rate: int, clip_mean: float, target_mean: float, second: float, last: float
) -> None:
    span = formula_span(16 * rate)
    target, _ = target_of_span(span, rate)
    numbers = [
        clip_of_span(span, rate).mean(),
        target.mean(),
        target[0, 0, 1, 0, 0],
        target[0, 0, 31, 0, 0],
    ]
    assert [float(number) for number in numbers] == pytest.approx(
        [clip_mean, target_mean, second, last], abs=2e-6
    )


def case() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    prediction, target, weights = (torch.rand(3, 3, 4, 5, 6, generator=generator) for _ in range(3))
    supervised = torch.tensor([[True] * 4, [True, False, True, False], [False, False, False, True]])
    return prediction, target, weights, supervised


def slow_reconstruction_loss(
    prediction: torch.Tensor, target: torch.Tensor, weights: torch.Tensor, supervised: torch.Tensor
) -> torch.Tensor:
    batch, channels, time, height, width = prediction.shape
    items = []
    for b in range(batch):
        total, count = torch.zeros(()), 0
        for c in range(channels):
            for t in range(time):
                if supervised[b, t]:
                    for h in range(height):
                        for w in range(width):
                            total = (
                                total
                                + weights[b, c, t, h, w]
                                * (prediction[b, c, t, h, w] - target[b, c, t, h, w]) ** 2
                            )
                            count += 1
        items.append(total / count)
    return sum(items, torch.zeros(())) / batch


def test_reconstruction_loss_and_gradient_follow_the_formula() -> None:
    prediction, target, weights, supervised = case()
    fast, slow = prediction.clone().requires_grad_(), prediction.clone().requires_grad_()
    loss, expected = (
        reconstruction_loss(fast, target, weights, supervised),
        slow_reconstruction_loss(slow, target, weights, supervised),
    )
    torch.testing.assert_close(loss, expected)
    loss.backward()
    expected.backward()
    torch.testing.assert_close(fast.grad, slow.grad)


def test_unsupervised_frames_and_the_order_of_items_do_not_matter() -> None:
    prediction, target, weights, supervised = case()
    loss = reconstruction_loss(prediction, target, weights, supervised)
    spoiled = target.clone()
    spoiled.transpose(1, 2)[~supervised] = torch.nan
    torch.testing.assert_close(reconstruction_loss(prediction, spoiled, weights, supervised), loss)
    order = [2, 0, 1]
    torch.testing.assert_close(
        reconstruction_loss(prediction[order], target[order], weights[order], supervised[order]),
        loss,
    )


def test_weights_learn_nothing_and_half_precision_is_summed_in_full() -> None:
    prediction, target, weights, supervised = case()
    weights.requires_grad_()
    prediction = prediction.bfloat16().requires_grad_()
    loss = reconstruction_loss(prediction, target, weights, supervised)
    loss.backward()
    assert loss.dtype == torch.float32 and weights.grad is None and prediction.grad is not None


def test_rate_loss_follows_the_formula() -> None:
    logits = torch.tensor([[1.0, -2.0, 0.5], [0.0, 3.0, 1.0]])
    labels = torch.tensor([2, 0])
    slow = [
        math.log(sum(math.exp(value) for value in row)) - row[label]
        for row, label in zip(logits.tolist(), labels.tolist(), strict=True)
    ]
    assert float(rate_loss(logits, labels)) == pytest.approx(sum(slow) / 2)
    assert float(rate_loss(torch.zeros(5, 4), torch.zeros(5, dtype=torch.int64))) == pytest.approx(
        math.log(4)
    )


def test_accuracy_is_counted_from_chance() -> None:
    labels = torch.tensor([0, 1, 2, 3])
    perfect = torch.eye(4)
    assert float(rate_accuracy_over_chance(perfect, labels)) == pytest.approx(1)
    assert float(rate_accuracy_over_chance(perfect[[0, 0, 0, 0]], labels)) == pytest.approx(0)
    assert float(rate_accuracy_over_chance(perfect[[1, 2, 3, 0]], labels)) == pytest.approx(-1 / 3)
