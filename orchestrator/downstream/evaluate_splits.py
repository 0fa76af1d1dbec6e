"""Published evaluation of an encoder: retrieval and a linear probe on each split, and their mean.

The features of a video are those of every split, so they are made once. Gallery of a split is its
training part with the validation part, queries are its test part (method §6.2).
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.data.index import num_usable_cpus, relabelled
from orchestrator.data.label_source import LabelSource
from orchestrator.data.pixel_facts import pixel_facts
from orchestrator.downstream.feature_job import FeatureJob
from orchestrator.downstream.feature_run import FeatureRun
from prp_core.data.clip_config import ClipConfig
from prp_core.data.manifest import Manifest, VideoRecord, parts
from prp_core.data.splits import Labelling
from prp_core.errors import UserError
from prp_core.evaluation.class_check import check_labels
from prp_core.evaluation.evaluation_config import Evaluations
from prp_core.evaluation.protocol import Measurement, protocol_hashes
from prp_core.evaluation.views import ViewsConfig

if TYPE_CHECKING:
    from prp_core.evaluation.features import FeatureTable

MOST_SPLITS = 3
PUBLISHED_VIEWS = ViewsConfig()
PUBLISHED_CLIP = ClipConfig()
STATED = "stated"  # the one split of videos that have their parts already


@dataclass(frozen=True)
class Split:
    """One division of the videos: what a query is measured against, and the queries."""

    name: str
    manifest: Manifest
    gallery: tuple[VideoRecord, ...]
    queries: tuple[VideoRecord, ...]


@dataclass(frozen=True)
class Measured:
    """The metrics of one describer (``encoder``, or a baseline) on one split."""

    split: str
    describer: str
    metrics: Mapping[str, float]
    protocol_hash: str


def splits_of(
    manifest: Manifest, folder: str | None, wanted: Sequence[int], *, val_fraction: float, seed: int
) -> list[Split]:
    """The splits numbered `wanted` of the split files in `folder` (all up to 3 where none is
    wanted); without a folder, the parts that the manifest has or that are carved out of it.

    Raises `UserError` for a split that is not there, and where nothing can be retrieved.
    """
    if not folder:
        return [_split(STATED, manifest, val_fraction, seed)]
    tables = dict(_tables(folder, wanted))
    return [
        _split(str(number), relabelled(manifest, table), val_fraction, seed)
        for number, table in tables.items()
    ]


def _tables(folder: str, wanted: Sequence[int]) -> Iterator[tuple[int, dict[str, Labelling]]]:
    seen: list[dict[str, Labelling]] = []
    for number in wanted or range(1, MOST_SPLITS + 1):
        try:
            table = LabelSource(splits_dir=Path(folder).expanduser(), split=number).table()
        except UserError:
            if wanted or number == 1:
                raise
            return
        if table not in seen:  # lists without a number are those of every split
            seen.append(table)
            yield number, table


def _split(name: str, manifest: Manifest, val_fraction: float, seed: int) -> Split:
    divided = parts(manifest, val_fraction=val_fraction, seed=seed)
    gallery = (*divided.gallery, *divided.val)
    check_labels(gallery, divided.test)
    return Split(name, manifest, gallery, divided.test)


def videos_of(splits: Sequence[Split]) -> tuple[VideoRecord, ...]:
    """The videos that some split needs, by key."""
    found = {record.key: record for split in splits for record in (*split.gallery, *split.queries)}
    return tuple(found[key] for key in sorted(found))


def measure(
    run: FeatureRun, splits: Sequence[Split], evaluations: Evaluations
) -> tuple[list[Measured], list[tuple[str, str]]]:
    """(the metrics of each describer on each split, (key, reason) of the broken videos), from the
    finished pieces of `run`.
    """
    from prp_core.evaluation.downstream import evaluate_tables
    from prp_core.world import World, use_threads

    use_threads(num_usable_cpus())
    tables, broken = _tables_of(run)
    found = []
    for split in splits:
        digest = protocol_of(run.job, evaluations, split)
        for name in run.job.describers:
            gallery, queries = (
                tables[name].rows_of(records) for records in (split.gallery, split.queries)
            )
            metrics = evaluate_tables(gallery, queries, evaluations, World.alone(), is_final=True)
            found.append(Measured(split.name, name, metrics, digest))
    return found, broken


def protocol_of(job: FeatureJob, evaluations: Evaluations, split: Split) -> str:
    """The hash of how retrieval is measured on `split`: that of a sweep's test part where videos,
    parts and views are the same.
    """
    measurement = Measurement(
        clip=job.clip,
        evaluations=evaluations,
        pixels=pixel_facts(job.data_uri, job.config(), uses_gpu=job.uses_gpu),
        gallery=split.gallery,
        queries=split.queries,
    )
    hashes = protocol_hashes(measurement, "retrieval", encoder=job.encoder_name, seed=job.seed)
    return hashes[""]


def mean_over_splits(found: Sequence[Measured], describer: str) -> dict[str, float]:
    """The mean of each share (recall, accuracy) over the splits."""
    of_describer = [one.metrics for one in found if one.describer == describer]
    names = [name for name in of_describer[0] if "recall_at" in name or "accuracy" in name]
    names = [name for name in names if not name.endswith(("_low", "_high"))]
    return {name: statistics.fmean(metrics[name] for metrics in of_describer) for name in names}


def is_published(job: FeatureJob) -> bool:
    """Whether videos are seen as in the published protocol: 10 clips of 16 frames, 112 x 112."""
    clip, views = job.clip, job.views
    same_size = (clip.resize_height, clip.resize_width, clip.crop) == (
        PUBLISHED_CLIP.resize_height,
        PUBLISHED_CLIP.resize_width,
        PUBLISHED_CLIP.crop,
    )
    return same_size and (views.num_clips, views.clip_length) == (
        PUBLISHED_VIEWS.num_clips,
        PUBLISHED_VIEWS.clip_length,
    )


def _tables_of(run: FeatureRun) -> tuple[dict[str, FeatureTable], list[tuple[str, str]]]:
    """A table for each describer, of all videos of `run` that have features."""
    import numpy as np

    from prp_core.evaluation.features import FeatureTable

    pieces = list(run.read())
    keys = [key for piece in pieces for key in piece.keys]
    broken = [entry for piece in pieces for entry in piece.broken]
    if not keys:
        raise UserError(f"None of the {len(run.records)} videos could be read: {broken[0]}")
    return {
        name: FeatureTable.of_arrays(
            np.concatenate([piece.features[name] for piece in pieces if piece.keys]), keys, broken
        )
        for name in run.job.describers
    }, broken
