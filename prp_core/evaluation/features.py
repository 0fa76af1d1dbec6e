"""Features: one vector for each video, the mean over its views (method §6.2)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import numpy as np
import torch
from torch import nn
from torch.nn.functional import max_pool3d

from prp_core.agreement import together
from prp_core.data.carried_frames import carried_frames
from prp_core.data.clip_config import ClipConfig
from prp_core.data.frame_source import FrameSource
from prp_core.data.manifest import VideoRecord
from prp_core.errors import BrokenVideo, FeaturesNotFinite, UserError
from prp_core.evaluation.decode_ahead import decode_ahead
from prp_core.evaluation.views import (
    ViewsConfig,
    arrange_clips,
    distinct_positions,
    view_positions,
    window_positions,
)
from prp_core.numerics import strict_float32
from prp_core.randomness import shares
from prp_core.world import World

ROWS_PER_WAIT = 64
"""Videos whose features are described before they are fetched from the device together."""

Describe = Callable[[torch.Tensor], torch.Tensor]
"""From clips (B, 3, T, H, W) in [0, 1] to features (B, D) or larger."""


def retrieval_feature(features_BCTHW: torch.Tensor) -> torch.Tensor:
    """An encoder's feature map as vectors (B, D): max-pooled over 2 x 2 pixels, then flattened.

    In the order C, T, H, W. 512x2x7x7 becomes 9216 (the seventh row and column are dropped, as
    published); a map of one row or column is not pooled that way.
    """
    height, width = features_BCTHW.shape[-2:]
    kernel = (1, min(2, height), min(2, width))
    return max_pool3d(features_BCTHW, kernel_size=kernel, stride=kernel).flatten(1)


def extract_features(
    encoder: nn.Module,
    records: Sequence[VideoRecord],
    source: FrameSource,
    clip: ClipConfig,
    views: ViewsConfig,
    world: World,
    *,
    with_windows: bool = False,
) -> FeatureTable:
    """The retrieval features of `records`, in their order: the same table on every worker.

    See `extract_tables`. The encoder works in evaluation mode; every module gets its mode back.
    """
    with in_evaluation_mode(encoder):
        return extract_tables(
            {"encoder": encoder_feature(encoder)},
            records,
            source,
            clip,
            views,
            world,
            with_windows=with_windows,
        )["encoder"]


def encoder_feature(encoder: nn.Module) -> Describe:
    """`encoder` followed by `retrieval_feature`."""
    return lambda clips_BCTHW: retrieval_feature(encoder(clips_BCTHW))


@contextmanager
def in_evaluation_mode(network: nn.Module) -> Iterator[None]:
    """Evaluation mode for every module of `network`, and afterwards to each the mode it had."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


@torch.no_grad()
def extract_tables(
    describers: Mapping[str, Describe],
    records: Sequence[VideoRecord],
    source: FrameSource,
    clip: ClipConfig,
    views: ViewsConfig,
    world: World,
    *,
    with_windows: bool = False,
) -> dict[str, FeatureTable]:
    """A table of features for each describer, each video decoded once for all of them.

    `with_windows`: also the features of each video's first and last third (`window_positions`).

    The workers share the videos and exchange the rows. A video that cannot be read has no row and
    stands in `broken`. Raises `UserError` when none can be read, `FeaturesNotFinite` for a feature
    that is not a number.
    """
    mine = shares(range(len(records)), world.rank, world.size)
    clips_of = partial(clips_and_parts, views=views, with_windows=with_windows)
    with strict_float32():
        share = together(
            world,
            "extracting features",
            lambda: _describe_share(
                describers, records, mine, source, clip, clips_of, views.batch_size, world.device
            ),
        )
    rows: dict[int, dict[str, torch.Tensor]] = {}
    broken: dict[int, tuple[str, str]] = {}
    for indices, columns, reasons in world.gather(share):
        rows.update(
            {
                index: {name: column[row] for name, column in columns.items()}
                for row, index in enumerate(indices)
            }
        )
        broken.update(reasons)
    if not rows:
        first = f"; the first: {broken[min(broken)]}" if broken else ""
        raise UserError(f"none of {len(records)} videos can be evaluated{first}")
    order = sorted(rows)
    return {
        name: _table(
            [rows[index][name] for index in order], [records[index] for index in order], broken
        )
        for name in describers
    }


@torch.no_grad()
def describe_videos(
    describers: Mapping[str, Describe],
    records: Sequence[VideoRecord],
    source: FrameSource,
    clip: ClipConfig,
    views: ViewsConfig,
    device: torch.device,
) -> Share:
    """(the indices of the videos that could be read, a column of their features for each describer,
    (key, reason) of the others by index): the rows of `extract_tables`, by one process.
    """
    clips_of = partial(clips_and_parts, views=views, with_windows=False)
    with strict_float32():
        indices, columns, broken = _describe_share(
            describers,
            records,
            range(len(records)),
            source,
            clip,
            clips_of,
            views.batch_size,
            device,
        )
    return indices, {name: column[:, 0] for name, column in columns.items()}, broken


Clips = tuple[tuple[tuple[int, ...], ...], tuple[slice, ...]]


def clips_and_parts(num_frames: int, views: ViewsConfig, *, with_windows: bool) -> Clips:
    """The clips of a video, and which of them make each of its features: the views, and with
    windows also the first and the last third.
    """
    whole = view_positions(num_frames, views)
    if not with_windows:
        return whole, (slice(0, len(whole)),)
    first, last = window_positions(num_frames, views)
    ends = (0, len(whole), len(whole) + len(first), len(whole) + len(first) + len(last))
    return (*whole, *first, *last), tuple(slice(*pair) for pair in pairwise(ends))


Share = tuple[list[int], dict[str, torch.Tensor], dict[int, tuple[str, str]]]


def _describe_share(
    describers: Mapping[str, Describe],
    records: Sequence[VideoRecord],
    mine: Sequence[int],
    source: FrameSource,
    clip: ClipConfig,
    clips_of: Callable[[int], Clips],
    batch_size: int,
    device: torch.device,
) -> Share:
    """(indices, a column of features for each describer, the broken ones) of one worker's share."""
    indices: list[int] = []
    columns: dict[str, list[torch.Tensor]] = {name: [] for name in describers}
    broken: dict[int, tuple[str, str]] = {}

    def read(index: int) -> torch.Tensor:
        record = records[index]
        positions = distinct_positions(clips_of(record.num_frames)[0])
        return carried_frames(source, record, positions, clip)

    for index, frames_NHWC in decode_ahead(mine, read, source.loader.num_decoders):
        if isinstance(frames_NHWC, BrokenVideo):
            broken[index] = (records[index].key, frames_NHWC.reason)
            continue
        clips, parts = clips_of(records[index].num_frames)
        clips_BCTHW = arrange_clips(frames_NHWC, clips, clip, device)
        indices.append(index)
        for name, describe in describers.items():
            means = [mean_over_clips(describe, clips_BCTHW[part], batch_size) for part in parts]
            columns[name].append(torch.stack(means))
            if len(indices) % ROWS_PER_WAIT == 0:  # the one wait for the device
                columns[name][-ROWS_PER_WAIT:] = torch.stack(columns[name][-ROWS_PER_WAIT:]).cpu()
    return (
        indices,
        {
            name: torch.stack([row.cpu() for row in column])
            for name, column in columns.items()
            if column
        },
        broken,
    )


def feature_of_frames(
    describe: Describe,
    frames_NHWC: torch.Tensor,
    num_frames: int,
    clip: ClipConfig,
    views: ViewsConfig,
    device: torch.device,
) -> torch.Tensor:
    """The feature (D,) of one video of `num_frames` frames, on `device`, as `extract_tables` has
    it under `strict_float32` and without gradients.

    `frames_NHWC` (uint8) are those of `distinct_positions(view_positions(num_frames, views))`.
    """
    clips_BCTHW = arrange_clips(frames_NHWC, view_positions(num_frames, views), clip, device)
    return mean_over_clips(describe, clips_BCTHW, views.batch_size)


def mean_over_clips(describe: Describe, clips_BCTHW: torch.Tensor, batch_size: int) -> torch.Tensor:
    """The mean of `describe` over clips, in float32; at most `batch_size` clips at a time."""
    return torch.cat([describe(batch).float() for batch in clips_BCTHW.split(batch_size)]).mean(
        dim=0
    )


def _table(
    rows: list[torch.Tensor], records: list[VideoRecord], broken: Mapping[int, tuple[str, str]]
) -> FeatureTable:
    parts_NPD = torch.stack(rows)
    check_finite(parts_NPD.flatten(1), [record.key for record in records])
    return FeatureTable(
        features_ND=parts_NPD[:, 0].contiguous(),
        labels=tuple(record.label or "" for record in records),
        keys=tuple(record.key for record in records),
        groups=tuple(record.group or record.key for record in records),
        broken=tuple(broken[index] for index in sorted(broken)),
        windows_N2D=parts_NPD[:, 1:].contiguous() if parts_NPD.shape[1] > 1 else None,
    )


def check_finite(features_ND: torch.Tensor, keys: Sequence[str]) -> None:
    """Raise `FeaturesNotFinite` where a feature has a value that is not finite."""
    bad = (~features_ND.isfinite().all(dim=1)).nonzero().flatten().tolist()
    if bad:
        raise FeaturesNotFinite(keys[bad[0]], len(bad), len(keys))


@dataclass(frozen=True)
class FeatureTable:
    """Features of videos: row n of `features_ND` (float32, on the CPU) is that of `keys[n]`.

    The video has the class `labels[n]` ("": none) and the group `groups[n]`. `broken` names the
    videos that have no row, each with its reason. `windows_N2D`, where they were asked for, are
    the features of its first and of its last third.
    """

    features_ND: torch.Tensor
    labels: tuple[str, ...]
    keys: tuple[str, ...]
    groups: tuple[str, ...]
    broken: tuple[tuple[str, str], ...] = ()
    windows_N2D: torch.Tensor | None = None

    @property
    def has_classes(self) -> bool:
        """Whether any of its videos has a class."""
        return any(self.labels)

    def __post_init__(self) -> None:
        assert len(self.features_ND) == len(self.labels) == len(self.keys) == len(self.groups), (
            self.features_ND.shape
        )

    def __len__(self) -> int:
        return len(self.keys)

    @classmethod
    def of_arrays(
        cls, features_ND: np.ndarray, keys: Sequence[str], broken: Sequence[tuple[str, str]]
    ) -> FeatureTable:
        """The table of float32 features that were stored; labels and groups are empty."""
        nothing = ("",) * len(keys)
        return cls(torch.from_numpy(features_ND), nothing, tuple(keys), nothing, tuple(broken))

    def rows_of(self, records: Sequence[VideoRecord]) -> FeatureTable:
        """The rows of `records`, in their order, with the labels and groups that they have there.

        Raises `UserError` where none of them has a row.
        """
        row_of = {key: row for row, key in enumerate(self.keys)}
        there = [record for record in records if record.key in row_of]
        if not there:
            raise UserError(f"none of {len(records)} videos can be evaluated: {self.broken[:1]}")
        wanted = {record.key for record in records}
        return FeatureTable(
            features_ND=self.features_ND[[row_of[record.key] for record in there]],
            labels=tuple(record.label or "" for record in there),
            keys=tuple(record.key for record in there),
            groups=tuple(record.group or record.key for record in there),
            broken=tuple(entry for entry in self.broken if entry[0] in wanted),
        )
