"""Batches arranged on the device equal those that are arranged item by item."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from prp_core.data.clip_config import ClipConfig
from prp_core.data.dilated_sampling import needed_positions, span_length
from prp_core.data.spans import SpanBatch, SpanSample
from prp_core.data.transforms import centre_offsets, resize_antialiased
from prp_core.pretext.motion_attention import AttentionConfig, motion_attention
from prp_core.pretext.playback_rate import PlaybackRate
from prp_core.pretext.pretext_config import PretextTasks
from prp_core.pretext.slow_motion import SlowMotion, SlowMotionTargets
from prp_core.pretext.targets import PretextBatch, build_pretext_batch
from tests.formula_clip import clip_of_span, formula_sample, target_of_span

RATES = (1, 2, 3, 8)
CLIP = ClipConfig(length=8, resize_height=40, resize_width=48, crop=32)


def tasks(mode: str = "dpau", upsampling: int = 2) -> PretextTasks:
    attention = AttentionConfig(mode=mode, low=0.7, high=2.5)
    return PretextTasks(
        playback_rate=PlaybackRate(rates="1-2-3-8"),
        slow_motion=SlowMotion(upsampling=upsampling, attention=attention),
    )


def sample(rate: int, index: int, upsampling: int, with_attention: bool, size: int) -> SpanSample:
    positions = needed_positions(CLIP.length, rate, upsampling, with_attention)
    return formula_sample(rate, positions, size=size, label=RATES.index(rate), index=index)


def spans(
    upsampling: int = 2,
    *,
    with_attention: bool = True,
    sizes: tuple[int, ...] = (64, 64, 48, 64, 48),
) -> SpanBatch:
    rates = (8, 1, 3, 2, 3)
    return SpanBatch(
        tuple(
            sample(rate, i, upsampling, with_attention, size)
            for i, (rate, size) in enumerate(zip(rates, sizes, strict=True))
        )
    )


def by_hand(one: SpanSample, mode: str, upsampling: int) -> PretextBatch:
    """A batch of one, from the whole span: every native frame resized, cropped at the centre, then
    indexed.
    """
    whole = formula_sample(
        one.rate, tuple(range(span_length(CLIP.length, one.rate))), size=one.frames_NHWC.shape[1]
    )
    top, left = centre_offsets(CLIP.resize_height, CLIP.resize_width, CLIP.crop)
    frames = resize_antialiased(whole.frames_NHWC, CLIP.resize_height, CLIP.resize_width)
    span = frames[..., top : top + CLIP.crop, left : left + CLIP.crop].transpose(0, 1)[None]
    target, supervised = target_of_span(span, one.rate, CLIP.length, upsampling)
    outputs = CLIP.length * upsampling
    weights = motion_attention(
        span, num_output_frames=outputs, mode=mode, low=0.7, high=2.5, clip_length=CLIP.length
    )
    return PretextBatch(
        clip_of_span(span, one.rate, CLIP.length),
        {
            "playback_rate": torch.tensor([one.rate_label]),
            "slow_motion": SlowMotionTargets(target, supervised, weights),
        },
    )


@pytest.mark.parametrize("mode", ["dpau", "gauss", "none"])
@pytest.mark.parametrize("upsampling", [1, 2, 4])
def test_a_mixed_batch_is_its_items_arranged_by_hand(mode: str, upsampling: int) -> None:
    batch_of_spans = spans(upsampling, with_attention=mode != "none")
    batch = build_pretext_batch(batch_of_spans, CLIP, tasks(mode, upsampling), "cpu", ("seed", 1))
    assert batch.clip_BCTHW.shape == (5, 3, 8, 32, 32) and batch.clip_BCTHW.is_contiguous()
    targets: SlowMotionTargets = batch.targets["slow_motion"]
    shape = (5, 3, 8 * upsampling, 32, 32)
    assert targets.target_BCTHW.shape == targets.attention_BCTHW.shape == shape
    assert batch.targets["playback_rate"].tolist() == [3, 0, 2, 1, 2]
    for b, one in enumerate(batch_of_spans.samples):
        expected = by_hand(one, mode, upsampling)
        wanted: SlowMotionTargets = expected.targets["slow_motion"]
        torch.testing.assert_close(batch.clip_BCTHW[b : b + 1], expected.clip_BCTHW)
        torch.testing.assert_close(targets.target_BCTHW[b : b + 1], wanted.target_BCTHW)
        assert torch.equal(targets.supervised_BT[b : b + 1], wanted.supervised_BT)
        torch.testing.assert_close(
            targets.attention_BCTHW[b : b + 1], wanted.attention_BCTHW, rtol=0, atol=1e-4
        )


def test_the_published_weights_of_a_still_channel_are_reachable() -> None:
    """A channel that does not move while others do: 2.0 as published, 1 by default."""
    one = sample(2, 0, 2, True, 64)
    frames_NHWC = one.frames_NHWC.clone()
    frames_NHWC[..., 1] = 64
    still_green = SpanBatch((replace(one, frames_NHWC=frames_NHWC),))
    green = {}
    for published in (False, True):
        attention = AttentionConfig(published=published)
        config = replace(tasks(), slow_motion=SlowMotion(attention=attention))
        batch = build_pretext_batch(still_green, CLIP, config, "cpu", ("seed",))
        green[published] = batch.targets["slow_motion"].attention_BCTHW[0, 1]
    assert (green[False] == 1).all()
    torch.testing.assert_close(green[True], torch.full_like(green[True], 2.0))


def test_input_and_target_share_one_crop_and_one_flip() -> None:
    clip = replace(CLIP, random_crop=True, flip_probability=0.5)
    batch = build_pretext_batch(spans(), clip, tasks(), "cpu", ("seed", 1))
    assert torch.equal(batch.targets["slow_motion"].target_BCTHW[:, :, ::2], batch.clip_BCTHW)


def test_augmentation_depends_on_the_sample_alone() -> None:
    clip = replace(CLIP, random_crop=True, flip_probability=0.5)
    samples = tuple(sample(2, i, 2, True, 64) for i in range(12))

    def clips(samples: tuple[SpanSample, ...], seed: int = 1) -> torch.Tensor:
        return build_pretext_batch(
            SpanBatch(samples), clip, tasks(), "cpu", ("seed", seed)
        ).clip_BCTHW

    all_clips = clips(samples)
    assert torch.equal(clips(samples[7:9]), all_clips[7:9])
    assert not torch.equal(clips(samples, seed=2), all_clips)
    assert not torch.equal(clips(tuple(replace(one, epoch=1) for one in samples)), all_clips)
    assert len({one.numpy().tobytes() for one in all_clips}) > 8


def test_flips_come_as_often_as_asked() -> None:
    samples = SpanBatch(tuple(sample(1, i, 2, True, 32) for i in range(24)))
    plain = build_pretext_batch(samples, CLIP, tasks(), "cpu", ("seed",)).clip_BCTHW
    for probability, wanted in ((0.0, {False}), (1.0, {True}), (0.5, {False, True})):
        flipping = replace(CLIP, flip_probability=probability)
        clips = build_pretext_batch(samples, flipping, tasks(), "cpu", ("seed",)).clip_BCTHW
        assert {
            torch.equal(one, other.flip(-1)) for one, other in zip(clips, plain, strict=True)
        } == wanted
        assert all(
            torch.equal(one, other) or torch.equal(one, other.flip(-1))
            for one, other in zip(clips, plain, strict=True)
        )


def test_nothing_is_computed_in_double_precision() -> None:
    batch = build_pretext_batch(spans(), CLIP, tasks(), "cpu", ("seed",))
    targets: SlowMotionTargets = batch.targets["slow_motion"]
    frames = (batch.clip_BCTHW, targets.target_BCTHW, targets.attention_BCTHW)
    assert {tensor.dtype for tensor in frames} == {torch.float32}
    assert batch.targets["playback_rate"].dtype == torch.int64
    assert targets.supervised_BT.dtype == torch.bool
