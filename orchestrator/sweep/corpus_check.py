"""Checks of the parts of a corpus: what a trial would refuse is refused before one is started."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from orchestrator.config.run_config import RunConfig
from orchestrator.config.source_config import SourceConfig
from orchestrator.data.sweep_videos import SweepVideos
from orchestrator.search.pruner import PRUNERS
from orchestrator.sweep.evidence import evidence_line
from prp_core.data.manifest import Manifest
from prp_core.errors import UnsuitableClasses, UserError
from prp_core.evaluation.class_check import check_labels
from prp_core.evaluation.intervals import MIN_GROUPS
from prp_core.evaluation.sentinels import leakage


def where_lines(
    videos: SweepVideos, config: RunConfig, whole: Manifest, judged: Manifest | None
) -> Iterator[str]:
    """How many videos each filter keeps, of the `whole` manifest and of that of another corpus."""
    pairs: list[tuple[SourceConfig, Manifest, Manifest]] = [(config.source, videos.manifest, whole)]
    if judged is not None:
        pairs.append((config.eval_source, videos.judged, judged))
    for source, kept, before in pairs:
        if source.where:
            yield (
                f"{source.WHERE} {source.where!r} keeps {len(kept.usable())} of the "
                f"{len(before.usable())} usable videos of {before.uri}"
            )


@contextmanager
def other_judges_named(config: RunConfig) -> Iterator[None]:
    """Add the way out to `UnsuitableClasses`: training needs none, judging on another corpus needs
    none of this one.
    """
    try:
        yield
    except UnsuitableClasses as error:
        if config.eval_source.is_given:
            raise
        raise UnsuitableClasses(
            f"{error}; or judge on another corpus, which has classes: --eval-data URI"
        ) from None


def check_parts(videos: SweepVideos, config: RunConfig) -> list[str]:
    """Lines on the videos that have no class, and on what the others can show.

    Raises `UserError` for videos without a class, for a single class, for a batch that is larger
    than the training part, and for a pruner that the validation part has too few groups for.
    """
    split = videos.parts
    labels = {record.label for record in (*split.gallery, *split.val)}
    has_classes = labels != {None}
    if has_classes or config.evaluation.label_free is None:
        check_labels(split.gallery, split.val)
    if has_classes and len(labels) < 2:
        raise UnsuitableClasses(
            f"All videos are of one class ({next(iter(labels))!r}): every retrieval would be right "
            "and every trial as good; put the videos into class folders, or give --labels CSV"
        )
    batch_size = config.training.batch_size
    if batch_size > len(split.train):
        raise UserError(
            f"training.batch_size = {batch_size}: only {len(split.train)} usable training videos; "
            "lower it or add videos"
        )
    num_groups = len({record.group or record.key for record in split.val})
    if PRUNERS[config.sweep.pruner].compares_queries and num_groups < MIN_GROUPS:
        raise UserError(
            f"sweep.pruner = {config.sweep.pruner!r} compares trials query by query, over groups "
            f"of validation videos: there are {num_groups}, and {MIN_GROUPS} are needed for a "
            "standard error; choose sweep.pruner=asha, or give the validation part more groups"
        )
    shared = leakage(split)
    return [
        *([f"WARNING: {shared}"] if shared else []),
        *_unused(videos),
        evidence_line(split, config),
    ]


def _unused(videos: SweepVideos) -> Iterator[str]:
    """What is trained on without a class, and what is neither trained nor judged on."""
    split = videos.parts
    if split.judged_train is None:
        num_trained = len(split.train) - len(split.gallery)
        num_unused = len(videos.manifest.usable()) - len(split.train)
        if num_trained and split.gallery:
            yield (
                f"{num_trained} of the {len(split.train)} training videos have no class: they are "
                "trained on; encoders are judged on the videos that have one"
            )
    else:
        num_unused = len(videos.judged.usable()) - len(split.gallery)
        if videos.num_copies:
            yield (
                f"{videos.num_copies} videos of {videos.manifest.uri} are not trained on: they, or "
                "others of their group, are copies of validation or test videos of "
                f"{videos.judged.uri}"
            )
    num_unused -= len(split.val) + len(split.test)
    if num_unused:
        yield (
            f"{num_unused} usable videos are in no part: the splits leave them out, or they have "
            "no class and belong to validation or test, or show a scene of theirs"
        )
