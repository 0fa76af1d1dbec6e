"""Motion attention against the published numbers (method §8.2, §8.3) and a transcription."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from torch.nn.functional import interpolate

from prp_core.data.dilated_sampling import key_frame_positions
from prp_core.errors import UserError
from prp_core.pretext.motion_attention import motion_attention, window_energy
from tests.formula_clip import formula_span


def published(span_BCTHW: torch.Tensor, mode: str = "dpau") -> torch.Tensor:
    return motion_attention(span_BCTHW, num_output_frames=32, mode=mode, published=True)[0]


def mended(span_BCTHW: torch.Tensor, mode: str = "dpau") -> torch.Tensor:
    return motion_attention(span_BCTHW, num_output_frames=32, mode=mode)[0]


def assert_close(
    actual: torch.Tensor | list[float], expected: object, tolerance: float = 1e-4
) -> None:
    torch.testing.assert_close(
        torch.as_tensor(actual), torch.tensor(expected), rtol=0, atol=tolerance
    )


def summary(weights_CTHW: torch.Tensor) -> torch.Tensor:
    return torch.stack(
        [weights_CTHW.mean(), weights_CTHW.std(), weights_CTHW.min(), weights_CTHW.max()]
    )


def test_window_energies_of_the_first_chunk() -> None:
    energy = window_energy(formula_span(16)[:, :, [0, 5, 10, 15]].transpose(1, 2))[0]
    assert energy.shape == (3, 13, 13)
    assert_close(energy.amin((1, 2)), [0.0036402, 0.0195025, 0.0379099], 1e-6)
    assert_close(energy.amax((1, 2)), [0.0225758, 0.0400601, 0.0682906], 1e-6)
    assert [divmod(int(channel.argmax()), 13) for channel in energy] == [(7, 10), (6, 10), (5, 10)]
    row = [
        0.0061194,
        0.0070416,
        0.0069515,
        0.0059289,
        0.0048798,
        0.0047337,
        0.0056196,
        0.0067520,
        0.0071268,
        0.0064121,
        0.0052409,
        0.0046509,
        0.0051657,
    ]
    assert_close(energy[0, 0], row, 1e-6)


@pytest.mark.parametrize(
    ("rate", "numbers", "channel_means"),
    [
        (1, [1.085448, 0.250003, 0.801876, 1.999540], [1.047018, 1.059076, 1.150251]),
        (2, [1.074646, 0.255473, 0.800084, 1.999540], [1.059194, 1.042609, 1.122135]),
        (4, [1.153043, 0.292082, 0.800084, 1.999540], [1.070056, 1.180025, 1.209048]),
        (8, [1.131103, 0.269695, 0.800084, 1.999540], [1.074490, 1.139864, 1.178953]),
    ],
)
def test_published_dpau(rate: int, numbers: list[float], channel_means: list[float]) -> None:
    weights = published(formula_span(16 * rate))
    assert weights.shape == (3, 32, 112, 112)
    assert_close(summary(weights), numbers)
    assert_close(weights.mean((1, 2, 3)), channel_means)


def test_published_dpau_at_single_points() -> None:
    one, eight = published(formula_span(16)), published(formula_span(128))
    places = [
        (0, 0, 0, 0),
        (0, 0, 56, 56),
        (1, 0, 30, 80),
        (2, 0, 98, 98),
        (0, 31, 111, 111),
        (1, 31, 20, 90),
        (2, 16, 64, 10),
    ]
    assert_close(
        [float(one[place]) for place in places],
        [0.95717, 0.88294, 1.09214, 1.56842, 1.06207, 0.96286, 0.95261],
    )
    assert_close([float(eight[place]) for place in places[4:]], [0.94150, 1.01563, 0.96002])


def test_published_dpau_chunk_by_chunk() -> None:
    def chunk_means(rate: int) -> torch.Tensor:
        return published(formula_span(16 * rate))[0].unflatten(0, (rate, -1)).mean((1, 2, 3))

    assert_close(chunk_means(2), [1.04702, 1.07137])
    assert_close(chunk_means(4).sort().values, [1.04702, 1.06860, 1.07137, 1.09324])


def test_published_dpau_where_little_moves() -> None:
    span = formula_span(16)
    assert (published(torch.full((1, 3, 16, 112, 112), 0.5)) == 1).all()
    still_green = span.clone()
    still_green[:, 1] = 0.25
    weights = published(still_green)
    assert_close([float(weights[1].min()), float(weights[1].max())], [2.0, 2.0], 1e-6)
    assert_close(weights[[0, 2]].amin((1, 2, 3)), [0.801876, 0.803869])
    assert_close(weights[[0, 2]].amax((1, 2, 3)), [1.999455, 1.997076])
    assert_close(published(0.5 + 1e-3 * (span - 0.5)).mean((1, 2, 3)), [1.98229, 1.98105, 1.97494])


@pytest.mark.parametrize(
    ("rate", "numbers"),
    [
        (1, [0.914873, 0.239369, 0.8, 2.0]),
        (2, [0.916240, 0.238908, 0.8, 2.0]),
        (4, [0.916049, 0.239017, 0.8, 2.0]),
        (8, [0.915121, 0.239179, 0.8, 2.0]),
    ],
)
def test_published_gauss(rate: int, numbers: list[float]) -> None:
    weights = published(formula_span(16 * rate), "gauss")
    assert_close(summary(weights), numbers)
    assert (weights == weights[:1]).all()


def test_published_gauss_at_single_points_and_without_motion() -> None:
    one, four = published(formula_span(16), "gauss"), published(formula_span(64), "gauss")
    places = [(0, 0, 56, 56), (1, 0, 30, 80), (2, 0, 98, 98), (1, 31, 20, 90)]
    assert_close([float(one[place]) for place in places], [0.94332, 1.25868, 0.80159, 0.92810])
    assert_close(float(four[2, 16, 64, 10]), 0.87088)
    assert divmod(int(one[0, 0].argmax()), 112) == (49, 84)
    still = published(torch.full((1, 3, 16, 112, 112), 0.5), "gauss")
    assert_close(float(still.mean()), 0.881668)
    assert divmod(int(still[0, 0].argmax()), 112) == (98, 98)


@pytest.mark.parametrize("mode", ["dpau", "gauss"])
def test_the_mend_leaves_moving_clips_almost_alone(mode: str) -> None:
    span = formula_span(64)
    torch.testing.assert_close(mended(span, mode), published(span, mode), rtol=0, atol=1e-3)


def test_the_mend_gives_a_still_channel_a_weight_of_one() -> None:
    still_green = formula_span(16)
    moving = mended(still_green)
    still_green[:, 1] = 0.25
    weights = mended(still_green)
    assert (weights[1] == 1).all()
    assert torch.equal(weights[[0, 2]], moving[[0, 2]])


def test_the_mend_does_not_amplify_faint_motion() -> None:
    faint = mended(0.5 + 1e-3 * (formula_span(16) - 0.5))
    assert (faint.mean((1, 2, 3)) < 1.01).all() and faint.min() >= 0.8 - 1e-6


@pytest.mark.parametrize("mode", ["dpau", "gauss", "none"])
@pytest.mark.parametrize("fade_per_frame", [0.0, 0.013])
def test_the_mend_weighs_still_clips_and_uniform_fades_by_one(
    mode: str, fade_per_frame: float
) -> None:
    picture = formula_span(1)
    span = picture + fade_per_frame * torch.arange(32).reshape(1, 1, 32, 1, 1)
    assert (mended(span, mode) == 1).all()


@pytest.mark.parametrize("published", [False, True])
@pytest.mark.parametrize("mode", ["dpau", "gauss"])
def test_items_do_not_see_each_other(mode: str, published: bool) -> None:
    spans = torch.cat(
        [formula_span(32), torch.full((1, 3, 32, 112, 112), 0.5), formula_span(64)[:, :, 32:]]
    )
    together = motion_attention(spans, num_output_frames=32, mode=mode, published=published)
    alone = [
        motion_attention(span[None], num_output_frames=32, mode=mode, published=published)[0]
        for span in spans
    ]
    torch.testing.assert_close(together, torch.stack(alone))


def slow_dpau(
    span_CTHW: torch.Tensor, clip_length: int, num_output_frames: int, low: float, high: float
) -> torch.Tensor:
    """The mended formula, one window at a time."""
    _, num_frames, height, width = span_CTHW.shape
    num_chunks = num_frames // clip_length
    maps = []
    for keys in key_frame_positions(clip_length, num_chunks):
        steps = [
            (span_CTHW[:, after] - span_CTHW[:, before]) ** 2 for before, after in pairwise(keys)
        ]
        change = sum(steps, torch.zeros(())) / 3
        energy = torch.zeros(3, 13, 13)
        for c in range(3):
            for i in range(13):
                for j in range(13):
                    top, left = i * (height // 16), j * (width // 16)
                    energy[c, i, j] = change[
                        c, top : top + height // 4, left : left + width // 4
                    ].mean()
            smallest, largest = energy[c].min(), energy[c].max()
            energy[c] = low + (high - low) * (energy[c] - smallest) / (largest - smallest + 1e-6)
        maps.append(
            interpolate(energy[None], size=(height, width), mode="bilinear", align_corners=False)[0]
        )
    return torch.stack(
        [maps[math.floor(j * num_chunks / num_output_frames)] for j in range(num_output_frames)],
        dim=1,
    )


@pytest.mark.parametrize(
    ("clip_length", "rate", "upsampling"), [(8, 3, 2), (16, 2, 1), (8, 5, 4), (24, 2, 2)]
)
def test_other_lengths_rates_and_sizes_follow_the_formula(
    clip_length: int, rate: int, upsampling: int
) -> None:
    span = formula_span(clip_length * rate, size=64)[:, :, :, :48]
    outputs = clip_length * upsampling
    weights = motion_attention(
        span, num_output_frames=outputs, low=0.5, high=3.0, clip_length=clip_length
    )
    torch.testing.assert_close(
        weights[0], slow_dpau(span[0], clip_length, outputs, 0.5, 3.0), rtol=0, atol=1e-4
    )


def test_attention_off_is_one_everywhere() -> None:
    assert (mended(formula_span(16, size=32), "none") == 1).all()


def test_misfits_are_refused() -> None:
    span = torch.rand(1, 3, 20, 32, 32)
    with pytest.raises(
        UserError, match=r"span frames = 20: must be a multiple of the clip length 16"
    ):
        motion_attention(span, num_output_frames=32)
    with pytest.raises(
        UserError,
        match=r"Unknown value of motion_attention mode 'gaus'; known: dpau, gauss, none\. Did "
        r"you mean 'gauss'",
    ):
        motion_attention(span, num_output_frames=32, mode="gaus")
