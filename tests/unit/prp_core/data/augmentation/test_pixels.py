"""Each augmentation of pixels against a slow transcription, one pixel after the other."""

from __future__ import annotations

import colorsys
import math

import pytest
import torch

from prp_core.data.augmentation.blur import Blur
from prp_core.data.augmentation.colour_jitter import ColourJitter
from prp_core.data.augmentation.greyscale import Greyscale
from prp_core.errors import UserError

Pixel = tuple[float, float, float]


def _frames(number: int, height: int = 5, width: int = 7) -> torch.Tensor:
    frames_NCHW = torch.rand((number, 3, height, width), generator=torch.Generator().manual_seed(1))
    frames_NCHW[:, :, 0, 0] = torch.tensor([1.0, 0.0, 0.0])  # where two channels are equal
    frames_NCHW[:, :, 0, 1] = torch.tensor([0.5, 0.5, 0.1])
    frames_NCHW[:, :, 0, 2] = 0.3
    return frames_NCHW


def _clamp(pixel: tuple[float, ...]) -> Pixel:
    red, green, blue = (min(max(value, 0.0), 1.0) for value in pixel)
    return red, green, blue


def _grey(pixel: Pixel) -> float:
    return 0.299 * pixel[0] + 0.587 * pixel[1] + 0.114 * pixel[2]


def _jittered(frame_CHW: torch.Tensor, values: tuple[float, ...]) -> torch.Tensor:
    brightness, contrast, saturation, hue = values
    _, height, width = frame_CHW.shape
    pixels: list[Pixel] = []
    for y in range(height):
        for x in range(width):
            pixels.append(_clamp(tuple(float(v) * brightness for v in frame_CHW[:, y, x])))
    mean = sum(map(_grey, pixels)) / len(pixels)
    for number, pixel in enumerate(pixels):
        pixel = _clamp(tuple(mean + contrast * (value - mean) for value in pixel))
        grey = _grey(pixel)
        pixel = _clamp(tuple(grey + saturation * (value - grey) for value in pixel))
        turned = colorsys.rgb_to_hsv(*pixel)
        pixels[number] = colorsys.hsv_to_rgb((turned[0] + hue) % 1, turned[1], turned[2])
    return torch.tensor(pixels).reshape(height, width, 3).permute(2, 0, 1)


def test_colour_jitter() -> None:
    jitter = ColourJitter(strength=1.0, probability=1.0)
    draws = [jitter.draw("key", number) for number in range(6)]
    frames_NCHW = _frames(6)
    changed_NCHW = jitter.apply(frames_NCHW, torch.tensor(draws))
    slow = torch.stack([_jittered(f, v) for f, v in zip(frames_NCHW, draws, strict=True)])
    torch.testing.assert_close(changed_NCHW, slow, rtol=0, atol=2e-6)


def test_the_ranges_of_colour_jitter() -> None:
    jitter = ColourJitter(strength=0.5, contrast=0.4, saturation=0.0, probability=1.0)
    values = torch.tensor([jitter.draw("key", number) for number in range(2000)])
    least, most = values.min(dim=0).values, values.max(dim=0).values
    torch.testing.assert_close(least, torch.tensor([0.6, 0.8, 1.0, -0.1]), atol=0.01, rtol=0)
    torch.testing.assert_close(most, torch.tensor([1.4, 1.2, 1.0, 0.1]), atol=0.01, rtol=0)
    chosen = [ColourJitter(strength=1, probability=0.8).draw("key", n) for n in range(2000)]
    assert 1500 < sum(draw != (1.0, 1.0, 1.0, 0.0) for draw in chosen) < 1700


def test_greyscale() -> None:
    frames_NCHW = _frames(3)
    changed_NCHW = Greyscale(probability=0.5).apply(
        frames_NCHW, torch.tensor([[1.0], [0.0], [1.0]])
    )
    assert torch.equal(changed_NCHW[1], frames_NCHW[1])
    for number in (0, 2):
        for y in range(5):
            for x in range(7):
                grey = _grey(tuple(frames_NCHW[number, :, y, x].tolist()))
                assert changed_NCHW[number, :, y, x].tolist() == pytest.approx([grey] * 3, abs=1e-6)
    drawn = [Greyscale(probability=0.3).draw("key", number) for number in range(2000)]
    assert set(drawn) == {(0.0,), (1.0,)} and 500 < drawn.count((1.0,)) < 700


def _blurred(frame_CHW: torch.Tensor, sigma: float) -> torch.Tensor:
    _, height, width = frame_CHW.shape
    out = torch.zeros_like(frame_CHW)
    for y in range(height):
        for x in range(width):
            total = 0.0
            for v in range(height):
                for u in range(width):
                    weight = math.exp(-((v - y) ** 2 + (u - x) ** 2) / (2 * sigma**2))
                    total += weight
                    out[:, y, x] += weight * frame_CHW[:, v, u]
            out[:, y, x] /= total
    return out


def test_blur() -> None:
    frames_NCHW = _frames(3)
    changed_NCHW = Blur().apply(frames_NCHW, torch.tensor([[0.0], [0.7], [2.0]]))
    assert torch.equal(changed_NCHW[0], frames_NCHW[0])
    slow = torch.stack([_blurred(frames_NCHW[n], sigma) for n, sigma in ((1, 0.7), (2, 2.0))])
    torch.testing.assert_close(changed_NCHW[1:], slow, rtol=0, atol=1e-6)
    sigmas = [Blur(probability=0.5, max_sigma=2.0).draw("key", n)[0] for n in range(2000)]
    drawn = [sigma for sigma in sigmas if sigma]
    assert 900 < len(drawn) < 1100 and 1.95 < max(drawn) < 2 and 0.9 < sum(drawn) / len(drawn) < 1.1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ColourJitter(strength=1.5), r"colour_jitter.strength = 1.5: must lie in 0 to 1"),
        (lambda: ColourJitter(hue=0.6), r"colour_jitter.hue = 0.6: must lie in 0 to 0.5"),
        (lambda: Greyscale(probability=2), r"greyscale.probability = 2: must lie in 0 to 1"),
        (lambda: Blur(max_sigma=-1), r"blur.max_sigma = -1: must not be negative"),
    ],
)
def test_wrong_settings_are_refused(make: object, message: str) -> None:
    with pytest.raises(UserError, match=f"clip.augmentation.{message}"):
        make()  # type: ignore[operator]
