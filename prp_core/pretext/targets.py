"""Batches on the device: clips and every task's targets from the native frames of spans.

The frames of all samples lie in one tensor; tables of row numbers, worked out in integers, say
which of them each task looks at. So the rates of a batch may differ and no pixel is touched item by
item.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch

from prp_core.data.augmentation.batches import augment_inputs, augment_spans
from prp_core.data.clip_config import ClipConfig
from prp_core.data.colour import kind_of, to_device
from prp_core.data.dilated_sampling import input_positions
from prp_core.data.spans import SpanBatch, SpanSample
from prp_core.data.transforms import crop_frames, crop_offsets, draws_flip, resize_antialiased
from prp_core.pretext.pretext_config import PretextTasks
from prp_core.pretext.task import SpanRows, Tables


@dataclass(frozen=True)
class PretextBatch:
    """The clips of a step, and the targets of each task that is on.

    `clip_BCTHW` is (B, 3, T, H, W), float32 in [0, 1]; `targets` maps a task's name to its own
    type.
    """

    clip_BCTHW: torch.Tensor
    targets: Mapping[str, Any]

    def __len__(self) -> int:
        return len(self.clip_BCTHW)


def build_pretext_batch(
    spans: SpanBatch,
    clip: ClipConfig,
    tasks: PretextTasks,
    device: torch.device | str,
    generator_key: tuple[int | str, ...],
) -> PretextBatch:
    """Resize, crop and flip the spans, then arrange clips and targets on `device`.

    Each span has one crop and one flip, drawn for (*generator_key, epoch, index) of its sample.
    """
    device = torch.device(device)
    rows = span_rows(spans.samples, clip.length)
    with torch.no_grad():
        frames_NCHW = crop_spans(spans.samples, clip, device, generator_key)
        clip_BTCHW = frames_NCHW[torch.tensor(input_rows(rows), device=device)]
        keys = sample_keys(spans.samples, generator_key)
        clip_BTCHW = augment_inputs(clip_BTCHW, keys, clip.augmentation)
        targets = {
            name: task.targets(frames_NCHW, to_tensors(task.tables(rows), device))
            for name, task in tasks.active.items()
        }
        return PretextBatch(clip_BTCHW.transpose(1, 2).contiguous(), targets)


def span_rows(samples: tuple[SpanSample, ...], clip_length: int) -> SpanRows:
    """Where each position of each sample lies in the concatenated frames of `samples`."""
    row_of = []
    first = 0
    for sample in samples:
        assert len(sample.positions) == len(sample.frames_NHWC), (
            sample.index,
            len(sample.positions),
            sample.frames_NHWC.shape,
        )
        row_of.append({position: first + row for row, position in enumerate(sample.positions)})
        first += len(sample.positions)
    return SpanRows(samples, clip_length, tuple(row_of))


def input_rows(spans: SpanRows) -> list[list[int]]:
    """The rows of each clip's frames, (B, T)."""
    return [
        [row_of[position] for position in input_positions(spans.clip_length, sample.rate)]
        for sample, row_of in spans
    ]


def to_tensors(tables: Tables, device: torch.device) -> dict[str, torch.Tensor]:
    """Each table as an int64 tensor on `device`."""
    return {
        name: torch.tensor(table, dtype=torch.int64, device=device)
        for name, table in tables.items()
    }


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
