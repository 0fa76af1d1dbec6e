"""From the native frames of a batch of spans to all that a training step needs, batched on the
device.

The frames of all samples lie in one tensor; tables of row numbers, worked out in integers, say
which of them are input, target and key frames. So the rates of a batch may differ and no pixel is
touched item by item.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch

from prp_core.data.augmentation.batches import augment_inputs, augment_spans
from prp_core.data.clip_config import ClipConfig
from prp_core.data.colour import kind_of, to_device
from prp_core.data.dilated_sampling import (
    chunk_of_output,
    input_positions,
    key_frame_positions,
    target_positions,
)
from prp_core.data.spans import SpanBatch, SpanSample
from prp_core.data.transforms import crop_frames, crop_offsets, draws_flip, resize_antialiased
from prp_core.pretext.motion_attention import attention_from_key_frames, uniform_attention
from prp_core.pretext.pretext_config import AttentionConfig, PretextTasks


@dataclass(frozen=True)
class PretextBatch:
    """Float tensors in [0, 1] (weights: low to high), T the clip's length and r the upsampling.

    `clip_BCTHW` (B, 3, T, H, W); `rate_labels_B` int64; `target_BCTHW` and `attention_BCTHW` (B, 3,
    rT, H, W), possibly read-only views; `supervised_BT` bool (B, rT): which target frames count.
    """

    clip_BCTHW: torch.Tensor
    rate_labels_B: torch.Tensor
    target_BCTHW: torch.Tensor
    supervised_BT: torch.Tensor
    attention_BCTHW: torch.Tensor


@dataclass(frozen=True)
class RowTables:
    """Rows of the batch's frame tensor, item by item; `chunk` counts the chunks of all items, as
    `keys` lists them.
    """

    inputs: list[list[int]]
    before: list[list[int]]
    after: list[list[int]]
    fraction: list[list[float]]
    supervised: list[list[bool]]
    keys: list[list[int]]
    chunk: list[list[int]]


def build_pretext_batch(
    spans: SpanBatch,
    clip: ClipConfig,
    tasks: PretextTasks,
    device: torch.device | str,
    generator_key: tuple[int | str, ...],
) -> PretextBatch:
    """Resize, crop and flip the spans, then arrange clips, labels, targets and attention on
    `device`.

    Each span has one crop and one flip, drawn for (*generator_key, epoch, index) of its sample.
    """
    device = torch.device(device)
    attention = tasks.slow_motion.attention
    upsampling = tasks.slow_motion.upsampling
    tables = row_tables(
        spans.samples, clip.length, upsampling, with_attention=attention.mode != "none"
    )
    with torch.no_grad():
        frames_NCHW = crop_spans(spans.samples, clip, device, generator_key)
        clip_BTCHW = frames_NCHW[torch.tensor(tables.inputs, device=device)]
        keys = sample_keys(spans.samples, generator_key)
        clip_BTCHW = augment_inputs(clip_BTCHW, keys, clip.augmentation)
        target_BCTHW = _gather_targets(frames_NCHW, tables)
        return PretextBatch(
            clip_BCTHW=clip_BTCHW.transpose(1, 2).contiguous(),
            rate_labels_B=torch.tensor(
                [sample.rate_label for sample in spans.samples], device=device
            ),
            target_BCTHW=target_BCTHW,
            supervised_BT=torch.tensor(tables.supervised, device=device),
            attention_BCTHW=_gather_attention(frames_NCHW, tables, attention, target_BCTHW),
        )


def row_tables(
    samples: tuple[SpanSample, ...], clip_length: int, upsampling: int, *, with_attention: bool
) -> RowTables:
    """Where in the concatenated frames of `samples` each input, target and key frame lies."""
    tables = RowTables([], [], [], [], [], [], [])
    first_row = 0
    for sample in samples:
        assert len(sample.positions) == len(sample.frames_NHWC), (
            sample.index,
            len(sample.positions),
            sample.frames_NHWC.shape,
        )
        row_of = {position: first_row + row for row, position in enumerate(sample.positions)}
        first_row += len(sample.positions)
        targets = target_positions(clip_length, sample.rate, upsampling)
        tables.inputs.append(
            [row_of[position] for position in input_positions(clip_length, sample.rate)]
        )
        tables.before.append([row_of[frame.before] for frame in targets])
        tables.after.append([row_of[frame.after] for frame in targets])
        tables.fraction.append([frame.numerator / upsampling for frame in targets])
        tables.supervised.append([frame.supervised for frame in targets])
        if with_attention:
            tables.chunk.append(
                [
                    len(tables.keys) + chunk
                    for chunk in chunk_of_output(clip_length, sample.rate, upsampling)
                ]
            )
            tables.keys.extend(
                [row_of[position] for position in chunk]
                for chunk in key_frame_positions(clip_length, sample.rate)
            )
    return tables


def crop_spans(
    samples: tuple[SpanSample, ...],
    clip: ClipConfig,
    device: torch.device,
    key: tuple[int | str, ...],
) -> torch.Tensor:
    """The frames of all samples in their order, float32 (N, 3, crop, crop) in [0, 1].

    Each sample has one crop, one flip, and one draw of each augmentation of whole clips.
    """
    resized = _resize_spans(samples, clip, device)
    keys = sample_keys(samples, key)
    crops = [crop_offsets(clip, *sample_key) for sample_key in keys]
    flips = [draws_flip(clip, *sample_key) for sample_key in keys]
    pieces = (
        crop_frames(frames_NCHW, clip.crop, top, left, flip=flip)
        for frames_NCHW, (top, left), flip in zip(resized, crops, flips, strict=True)
    )
    num_frames = [len(frames_NCHW) for frames_NCHW in resized]
    return augment_spans(torch.cat(list(pieces)), num_frames, keys, clip.augmentation)


def sample_keys(
    samples: tuple[SpanSample, ...], key: tuple[int | str, ...]
) -> list[tuple[int | str, ...]]:
    """The key of each sample's draws on the device: (*`key`, epoch, index)."""
    return [(*key, sample.epoch, sample.index) for sample in samples]


def _resize_spans(
    samples: tuple[SpanSample, ...], clip: ClipConfig, device: torch.device
) -> list[torch.Tensor]:
    """Each sample's frames at the clip's size; neighbours that are alike are resized together."""
    kinds = [kind_of(sample.frames_NHWC) for sample in samples]
    cuts = [
        0,
        *(b + 1 for b, (left, right) in enumerate(pairwise(kinds)) if left != right),
        len(samples),
    ]
    resized: list[torch.Tensor] = []
    for first, stop in pairwise(cuts):
        frames = [sample.frames_NHWC for sample in samples[first:stop]]
        together_NHWC = to_device(frames, device)
        resized.extend(
            resize_antialiased(together_NHWC, clip.resize_height, clip.resize_width).split(
                [len(part) for part in frames]
            )
        )
    return resized


def _gather_targets(frames_NCHW: torch.Tensor, tables: RowTables) -> torch.Tensor:
    """Target frames (B, 3, rT, H, W): native ones as they are, the others mixed from the two around
    them.
    """
    device = frames_NCHW.device
    target_BTCHW = frames_NCHW[torch.tensor(tables.before, device=device)]
    mixed = [
        (b, t)
        for b, row in enumerate(tables.fraction)
        for t, fraction in enumerate(row)
        if fraction > 0
    ]
    if mixed:
        items, times = torch.tensor(mixed, device=device).T
        after = frames_NCHW[torch.tensor([tables.after[b][t] for b, t in mixed], device=device)]
        fraction = torch.tensor([tables.fraction[b][t] for b, t in mixed], device=device)
        target_BTCHW[items, times] = target_BTCHW[items, times].lerp_(
            after, fraction[:, None, None, None]
        )
    return target_BTCHW.transpose(1, 2)


def _gather_attention(
    frames_NCHW: torch.Tensor,
    tables: RowTables,
    attention: AttentionConfig,
    target_BCTHW: torch.Tensor,
) -> torch.Tensor:
    """Weights of the target's shape, from the key frames of all chunks of all items at once."""
    device = frames_NCHW.device
    if attention.mode == "none":
        batch, channels, time, height, width = target_BCTHW.shape
        return uniform_attention((batch, channels, time, height, width), device)
    keys_NKCHW = frames_NCHW[torch.tensor(tables.keys, device=device)]
    chunk_BT = torch.tensor(tables.chunk, device=device)
    return attention_from_key_frames(
        keys_NKCHW,
        chunk_BT,
        mode=attention.mode,
        low=attention.low,
        high=attention.high,
        exact=attention.exact,
    )
