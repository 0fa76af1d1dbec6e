"""The tables of an evaluation as text of 80 columns: our figures, and those of papers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from orchestrator.downstream.evaluate_splits import (
    STATED,
    Measured,
    Split,
    is_published,
    mean_over_splits,
)
from orchestrator.downstream.feature_job import ENCODER, FeatureJob
from orchestrator.downstream.published_figures import (
    KS,
    OWN,
    SOURCES,
    UNSTATED,
    VCOP,
    published_rows,
)

PROBE = "linear_probe/accuracy"
NAMES = {
    ENCODER: "encoder",
    "random_init": "random init",
    "mean_frame": "pixels: mean frame",
    "mean_absolute_difference": "pixels: difference",
}


def figure_lines(
    job: FeatureJob, model: str, splits: Sequence[Split], found: Sequence[Measured]
) -> Iterator[str]:
    """The figures of each describer on each split, and their mean, in percent."""
    yield f"{job.encoder_name} of {model}"
    yield from protocol_lines(job)
    for split in splits:
        what = "the videos' own parts" if split.name == STATED else f"split {split.name}"
        labels = {record.label for record in (*split.gallery, *split.queries)}
        yield (
            f"{what}: {len(split.queries)} queries, gallery of {len(split.gallery)}, "
            f"{len(labels)} classes"
        )
    yield ""
    yield f"{'in percent':<20}{'split':<7}{_cells([f'R@{k}' for k in KS])}{'probe':>7}  protocol"
    for describer in job.describers:
        rows = [one for one in found if one.describer == describer]
        for row in rows:
            yield _line(NAMES[describer], row.split, row.metrics, row.protocol_hash)
            if interval := _interval(row.metrics):
                yield f"{'':<27}{interval}"
        if len(rows) > 1:
            yield _line(NAMES[describer], "mean", mean_over_splits(found, describer), "")


def protocol_lines(job: FeatureJob) -> Iterator[str]:
    """How the videos are seen, and whether that is the published protocol."""
    clip, views = job.clip, job.views
    clips = "1 clip" if views.num_clips == 1 else f"{views.num_clips} clips"
    yield (
        f"{clips} of {views.clip_length} frames, {clip.resize_height} x "
        f"{clip.resize_width} pixels, centre {clip.crop}, max-pooled, mean, cosine"
    )
    if is_published(job):
        yield "this is the published protocol (of VCOP, which PRP was measured by)"
    else:
        yield "this is NOT the published protocol, but how this encoder was measured: the"
        yield "figures do not compare with those of papers"


def published_lines(name: str, *, is_published: bool) -> Iterator[str]:
    """The figures of papers, with pretraining data, protocol and source."""
    rows = published_rows(name)
    if not rows:
        return
    yield ""
    yield f"published, {name.upper()} split 1, in percent"
    yield f"{'method':<13}{'encoder':<9}{'trained on':<12}{_cells([f'R@{k}' for k in KS])}" + (
        f"{'protocol':>10}  from"
    )
    for row in rows:
        cells = _cells([_percent(value) for value in row.recalls])
        yield (
            f"{row.method:<13}{row.backbone:<9}{row.pretrained_on:<12}{cells}"
            f"{row.protocol:>10}  {row.source}"
        )
    yield f"{VCOP}: the protocol of this evaluation. {OWN}: the authors' own, with other clips,"
    yield f"sizes and features. {UNSTATED}: not stated where it was read. Rows with another"
    yield "protocol or other training data rank methods roughly."
    for letter, source in SOURCES.items():
        if any(letter in row.source for row in rows):
            yield f"{letter}: {source}"
    if not is_published:
        yield "none of them was measured as this encoder was (see above)"


def _line(name: str, split: str, metrics: Mapping[str, float], protocol: str) -> str:
    recalls = [_share(metrics.get(f"retrieval/recall_at_{k}")) for k in KS]
    return f"{name:<20}{split:<7}{_cells(recalls)}{_share(metrics.get(PROBE)):>7}  {protocol}"


def _interval(metrics: Mapping[str, float]) -> str:
    names = ("retrieval/recall_at_1_low", "retrieval/recall_at_1_high")
    if not all(name in metrics for name in names):
        return ""
    low, high = (_share(metrics[name]) for name in names)
    return f"[{low}, {high}] is the 95 % interval of R@1"


def _cells(texts: Sequence[str]) -> str:
    return "".join(f"{text:>6}" for text in texts)


def _share(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"
