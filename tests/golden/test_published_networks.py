"""The three published networks against the authors' code, at full size (method §2, §3, §8.5).

Key-free weights, a batch of two (formula clip at rate 1 and at rate 4), published attention. About
1.3 TFLOP in all.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import nn
from torch.nn.functional import max_pool3d

from prp_core.pretext.motion_attention import motion_attention
from prp_core.pretext.network import PrpNetwork
from prp_core.pretext.playback_rate import rate_loss
from prp_core.pretext.slow_motion import reconstruction_loss
from tests.formula_clip import clip_of_span, fill_key_free, formula_span, target_of_span

RATES, LABELS = (1, 4), (0, 2)


@dataclass(frozen=True)
class Published:
    """The authors' numbers for one network; (mean, std[, max]) where a tensor is summed up."""

    encoder_parameters: int
    parameters: int
    features: tuple[float, float, float]
    retrieval: tuple[float, float]
    retrieval_first: tuple[float, ...]
    rate_logits: tuple[tuple[float, ...], tuple[float, ...]]
    class_logits: tuple[float, ...]
    reconstruction: tuple[float, float, float]
    train_logits: tuple[float, ...]
    losses: tuple[float, float, float]
    gradient_norm: float


PUBLISHED = {
    "c3d": Published(
        27_661_440,
        49_259_981,
        (0.218834, 0.317261, 2.157937),
        (0.332287, 0.382640),
        (0, 0.1866012, 0.4046402, 0, 0.2767816),
        ((0.506514, 0.470124, 0.058972, -0.230285), (0.566684, 0.507842, 0.047833, -0.263586)),
        (0.86037, 0.31825, -0.04820, -0.11194, -0.36247),
        (0.636287, 0.941623, 9.699148),
        (1.517445, 0.694431, -0.093772, 0.080346),
        (0.4447597, 1.3600065, 0.5807604),
        2.605833,
    ),
    "r3d": Published(
        14_361_792,
        35_960_333,
        (1.332367, 2.031690, 14.296206),
        (1.841964, 2.359173),
        (6.5851545, 6.4640160, 6.9467487, 5.3122697, 5.6362433),
        ((5.266622, 3.786644, -0.430776, -0.361192), (5.401237, 3.763753, -0.414174, -0.345988)),
        (6.57481, 4.06936, -2.49917, -0.30425, -1.07858),
        (3.920066, 5.788469, 55.887283),
        (1.371866, 0.627241, -0.055009, -0.095506),
        (0.4468567, 1.4300902, 0.5898657),
        1.962441,
    ),
    "r2plus1d": Published(
        14_365_303,
        35_963_844,
        (1.624199, 2.321755, 17.300585),
        (2.149318, 2.650568),
        (1.8587580, 1.5665697, 2.4522705, 1.8080465, 2.7577200),
        ((6.591356, 1.521706, -0.039990, -0.070300), (6.612254, 1.564915, -0.117975, -0.014360)),
        (4.72389, 8.19383, 2.33938, 2.29233, -9.60408),
        (4.681430, 6.947637, 70.169006),
        (1.234222, 0.543055, 0.006922, 0.047305),
        (0.4464401, 1.5419482, 0.6006349),
        2.331107,
    ),
}


def close(
    actual: torch.Tensor | float, expected: object, relative: float = 1e-3, absolute: float = 1e-4
) -> None:
    torch.testing.assert_close(
        torch.as_tensor(actual).detach(), torch.tensor(expected), rtol=relative, atol=absolute
    )


@pytest.fixture(scope="module")
def batch() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Clip, target, flags and attention of the two items."""
    spans = [formula_span(16 * rate) for rate in RATES]
    targets = [target_of_span(span, rate) for span, rate in zip(spans, RATES, strict=True)]
    return (
        torch.cat([clip_of_span(span, rate) for span, rate in zip(spans, RATES, strict=True)]),
        torch.cat([target for target, _ in targets]),
        torch.cat([flags for _, flags in targets]),
        torch.cat([motion_attention(span, num_output_frames=32, published=True) for span in spans]),
    )


@pytest.mark.parametrize("name", list(PUBLISHED))
def test_network_matches_the_published_code(name: str, batch: tuple[torch.Tensor, ...]) -> None:
    published = PUBLISHED[name]
    network = PrpNetwork(name)
    assert (
        sum(parameter.numel() for parameter in network.encoder.parameters())
        == published.encoder_parameters
    )
    assert sum(parameter.numel() for parameter in network.parameters()) == published.parameters
    fill_key_free(network)
    check_eval_mode(network.eval(), batch[0], published)
    check_train_mode(network.train(), batch, published)


@torch.no_grad()
def check_eval_mode(network: PrpNetwork, clip_BCTHW: torch.Tensor, published: Published) -> None:
    seen: list[torch.Tensor] = []
    hook = network.encoder.register_forward_hook(
        lambda _module, _inputs, output: seen.append(output)
    )
    output = network(clip_BCTHW)
    hook.remove()
    features = seen[0]
    assert features.shape == (2, 512, 2, 7, 7)
    close(torch.stack([features.mean(), features.std(), features.max()]), published.features)
    retrieval = max_pool3d(features, (1, 2, 2)).flatten(1)
    assert retrieval.shape == (2, 9216)
    close(torch.stack([retrieval.mean(), retrieval.std()]), published.retrieval)
    close(retrieval[0, :5], [float(value) for value in published.retrieval_first])
    close(output["playback_rate"], published.rate_logits)
    recognition = nn.Linear(512, 101)
    fill_key_free(recognition)
    close(recognition(features.mean((2, 3, 4)))[0, :5], published.class_logits)
    reconstruction = output["slow_motion"]
    assert reconstruction.shape == (2, 3, 32, 112, 112)
    close(
        torch.stack([reconstruction.mean(), reconstruction.std(), reconstruction.max()]),
        published.reconstruction,
    )


def check_train_mode(
    network: PrpNetwork, batch: tuple[torch.Tensor, ...], published: Published
) -> None:
    clip, target, supervised, attention = batch
    output = network(clip)
    close(output["playback_rate"][0], published.train_logits)
    reconstruction = reconstruction_loss(output["slow_motion"], target, attention, supervised)
    rate = rate_loss(output["playback_rate"], torch.tensor(LABELS))
    total = reconstruction + 0.1 * rate
    close(
        torch.stack([reconstruction, rate, total]), published.losses, relative=1e-4, absolute=1e-5
    )
    total.backward()
    norms = torch.stack(
        [parameter.grad.norm() for parameter in network.parameters() if parameter.grad is not None]
    )
    assert len(norms) == len(list(network.parameters()))
    close(norms.norm(), published.gradient_norm)
