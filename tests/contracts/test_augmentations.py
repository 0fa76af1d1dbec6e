"""What every augmentation of the catalogue promises: off by default, pure draws, batched pixels."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Sequence
from dataclasses import fields, replace
from itertools import pairwise
from typing import Any

import pytest
import torch

from prp_core.data.augmentation import AUGMENTATIONS, AugmentationConfig
from prp_core.data.augmentation.augmentation import Augmentation
from prp_core.data.augmentation.batches import (
    Draws,
    Key,
    augment_frames,
    draw_for_inputs,
    draw_for_spans,
)

PIXELS = [name for name, one in AUGMENTATIONS.items() if isinstance(one, Augmentation)]
KEYS = [(3, epoch, index) for epoch in range(2) for index in range(4)]


def tensors(draws: Draws) -> dict[str, torch.Tensor]:
    """The draws as they arrive on the device."""
    return {name: torch.tensor(rows) for name, rows in draws.items()}


def augment_spans(
    frames_NCHW: torch.Tensor,
    num_frames: Sequence[int],
    keys: Sequence[Key],
    config: AugmentationConfig,
) -> torch.Tensor:
    """Spans as a batch has them, one after the other: span b has ``num_frames[b]`` frames."""
    draws = tensors(draw_for_spans(num_frames, keys, config))
    return augment_frames(frames_NCHW, draws, config, per_frame=False)


def augment_inputs(
    clip_BTCHW: torch.Tensor, keys: Sequence[Key], config: AugmentationConfig
) -> torch.Tensor:
    """Clips as the encoder takes them."""
    draws = tensors(draw_for_inputs(keys, clip_BTCHW.shape[1], config))
    changed = augment_frames(clip_BTCHW.flatten(0, 1), draws, config, per_frame=True)
    return changed.unflatten(0, clip_BTCHW.shape[:2])


def switched_on(name: str, *, per_frame: bool = False) -> AugmentationConfig:
    """A config in which `name` alone is on, and changes every clip."""
    one = AUGMENTATIONS[name]
    most = {entry.name: 1.0 for entry in fields(one) if entry.name in ("strength", "probability")}
    return replace(AugmentationConfig(), **{name: replace(one, per_frame=per_frame, **most)})


def frames(number: int, size: int = 12) -> torch.Tensor:
    """(number, 3, size, size + 2) in [0, 1], with both ends of the range and grey pixels in it."""
    frames_NCHW = torch.rand(
        (number, 3, size, size + 2), generator=torch.Generator().manual_seed(number)
    )
    frames_NCHW[:, :, 0, 0] = 0
    frames_NCHW[:, :, 0, 1] = 1
    frames_NCHW[:, :, 1, 0] = 0.25
    return frames_NCHW


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_it_is_off_by_default(name: str) -> None:
    assert not AUGMENTATIONS[name].is_on
    assert list(AugmentationConfig().of_pixels(per_frame=False)) == []
    assert list(AugmentationConfig().of_pixels(per_frame=True)) == []


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_every_setting_says_what_it_is(name: str) -> None:
    """A sentence under each field: its unit and its meaning."""
    tree = ast.parse(inspect.getsource(type(AUGMENTATIONS[name])))
    body = tree.body[0].body  # type: ignore[attr-defined]
    for entry, following in pairwise(body):
        if isinstance(entry, ast.AnnAssign):
            assert isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant)


@pytest.mark.parametrize("name", PIXELS)
def test_a_draw_is_a_pure_function_of_its_key(name: str) -> None:
    one: Any = getattr(switched_on(name), name)
    draws = [one.draw(*key) for key in KEYS]
    assert draws == [one.draw(*key) for key in reversed(KEYS)][::-1]
    assert name == "greyscale" or len(set(draws)) == len(KEYS)


@pytest.mark.parametrize("name", PIXELS)
def test_pixels_stay_in_range_and_the_input_stays_as_it_is(name: str) -> None:
    one: Any = getattr(switched_on(name), name)
    before_NCHW = frames(6)
    values_NV = torch.tensor([one.draw("range", number) for number in range(6)])
    after_NCHW = one.apply(before_NCHW, values_NV)
    assert after_NCHW.shape == before_NCHW.shape and after_NCHW.dtype == before_NCHW.dtype
    assert after_NCHW.min() >= 0 and after_NCHW.max() <= 1
    assert torch.equal(before_NCHW, frames(6))
    assert not torch.equal(after_NCHW, before_NCHW)


@pytest.mark.parametrize("name", PIXELS)
def test_values_of_a_clip_that_is_not_chosen_change_no_bit(name: str) -> None:
    one = replace(getattr(switched_on(name), name), probability=1e-12)
    values = [one.draw("not chosen", number) for number in range(6)]
    assert torch.equal(one.apply(frames(6), torch.tensor(values)), frames(6))


@pytest.mark.parametrize("name", PIXELS)
@pytest.mark.parametrize("per_frame", [False, True])
def test_a_batch_is_changed_as_its_items_are(name: str, per_frame: bool) -> None:
    """So 2 workers see what 1 sees, whichever shares of the batch they have."""
    config = switched_on(name, per_frame=per_frame)
    clip_BTCHW = frames(8 * 4).unflatten(0, (8, 4))
    apart = [augment_inputs(clip_BTCHW[b : b + 1], KEYS[b : b + 1], config) for b in range(8)]
    torch.testing.assert_close(augment_inputs(clip_BTCHW, KEYS, config), torch.cat(apart))
    lengths = [1, 2, 3, 4, 5, 6, 7, 4]
    spans = frames(32).split(lengths)
    apart = [augment_spans(spans[b], [lengths[b]], [KEYS[b]], config) for b in range(8)]
    torch.testing.assert_close(augment_spans(frames(32), lengths, KEYS, config), torch.cat(apart))


@pytest.mark.parametrize("name", PIXELS)
def test_whole_clips_share_a_draw_and_frames_do_not(name: str) -> None:
    still_NCHW = frames(1).expand(4, -1, -1, -1)
    one_clip = switched_on(name)
    clip_NCHW = augment_spans(still_NCHW, [4], [("clip",)], one_clip)
    assert all(torch.equal(frame, clip_NCHW[0]) for frame in clip_NCHW)
    assert torch.equal(augment_inputs(still_NCHW[None], [("clip",)], one_clip)[0], still_NCHW)
    each_frame = switched_on(name, per_frame=True)
    jittered_TCHW = augment_inputs(still_NCHW[None], [("clip",)], each_frame)[0]
    assert name == "greyscale" or not torch.equal(jittered_TCHW[0], jittered_TCHW[1])
    assert torch.equal(augment_spans(still_NCHW, [4], [("clip",)], each_frame), still_NCHW)
