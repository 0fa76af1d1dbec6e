"""The showcase of a trial: the values of its page, rendered as one self-contained HTML file."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.report.content import Facts
from orchestrator.report.formatting import joined, share_text, short_name, value_text
from orchestrator.report.rendering import render
from orchestrator.report.showcase import Clip, Showcase, Strip
from prp_core.evaluation.neighbours import Neighbour, QueryNeighbours
from prp_core.pretext.reconstruction_sample import ReconstructionSample, ShownFrame


@dataclass(frozen=True)
class Picture:
    """An image as a data URI with its text alternative; `kind` is ``held``, ``filled`` or empty."""

    source: str
    alternative: str
    kind: str = ""


@dataclass(frozen=True, kw_only=True)
class Card:
    """A video of the retrieval: the query itself (`rank` 0) or its `rank`-th neighbour.

    `pictures` is empty where its frames could not be read.
    """

    key: str
    label: str
    rank: int
    similarity: float
    is_correct: bool
    pictures: tuple[Picture, ...]


@dataclass(frozen=True, kw_only=True)
class Neighbours:
    """The nearest neighbours of each query; `rows` hold a query's card and those of its own."""

    recall: str
    num_queries: int
    num_gallery: int
    is_label_free: bool
    num_unreadable: int
    rows: tuple[tuple[Card, ...], ...]


@dataclass(frozen=True, kw_only=True)
class ReconstructedClip:
    """A clip with a column per shown frame and a line per kind of picture."""

    key: str
    label: str
    sample: ReconstructionSample
    columns: tuple[str, ...]
    lines: tuple[tuple[str, tuple[Picture, ...]], ...]


@dataclass(frozen=True, kw_only=True)
class Reconstructions:
    """The reconstructions of the slow-motion task; without `clips`, `missing` says why."""

    missing: str
    clip_length: int
    upsampling: int
    rates: str
    attention: str
    clips: tuple[ReconstructedClip, ...]


@dataclass(frozen=True, kw_only=True)
class ShowcasePage:
    """Everything that ``templates/showcase.html`` shows."""

    title: str
    sweep_id: str
    trial: int
    num_correct: int
    num_queries: int
    facts: Facts
    neighbours: Neighbours
    reconstructions: Reconstructions


def showcase_html(found: Showcase) -> str:
    """The page of `found`."""
    return render("showcase.html", showcase_page(found))


def showcase_page(found: Showcase) -> ShowcasePage:
    """The values of the page of `found`."""
    answers = found.retrieved.shown
    return ShowcasePage(
        title=f"Trial {found.trial} of sweep {found.sweep_id}: retrieval and reconstruction",
        sweep_id=found.sweep_id,
        trial=found.trial,
        num_correct=sum(answer.is_correct for answer in answers),
        num_queries=len(answers),
        facts=_facts(found),
        neighbours=_neighbours(found),
        reconstructions=_reconstructions(found),
    )


def _facts(found: Showcase) -> Facts:
    sampled = [f"{short_name(path)} {value_text(value)}" for path, value in found.values.items()]
    config = found.config
    return (
        ("sampled", ", ".join(sampled)),
        (
            "network",
            f"{config.encoder.name} after {config.training.num_epochs} epochs, its newest "
            "checkpoint, in evaluation mode",
        ),
        ("left out", ", ".join(f"{key} ({reason})" for key, reason in found.left_out)),
    )


def _neighbours(found: Showcase) -> Neighbours:
    retrieved = found.retrieved
    return Neighbours(
        is_label_free=found.config.sweep.is_label_free,
        recall=share_text(retrieved.recall_at_1, retrieved.interval),
        num_queries=retrieved.num_queries,
        num_gallery=retrieved.num_gallery,
        num_unreadable=len(retrieved.unreadable_queries) + len(retrieved.unreadable_gallery),
        rows=tuple(_row(found, answer) for answer in retrieved.shown),
    )


def _row(found: Showcase, answer: QueryNeighbours) -> tuple[Card, ...]:
    query = Neighbour(answer.key, answer.label, similarity=1.0, is_correct=True)
    return tuple(
        Card(
            key=one.key,
            label=one.label,
            rank=rank,
            similarity=one.similarity,
            is_correct=one.is_correct,
            pictures=_strip_pictures(found.strips.get(one.key)),
        )
        for rank, one in enumerate((query, *answer.neighbours))
    )


def _strip_pictures(strip: Strip | None) -> tuple[Picture, ...]:
    if strip is None:
        return ()
    return tuple(
        Picture(_data_uri(jpeg), f"frame {position + 1} of {strip.num_frames}")
        for jpeg, position in zip(strip.jpegs, strip.positions, strict=True)
    )


def _reconstructions(found: Showcase) -> Reconstructions:
    task = found.config.pretext.slow_motion
    missing = ""
    if not task.loss_weight:
        missing = (
            "The slow-motion task was off in this trial (pretext.slow_motion.loss_weight = 0), so "
            "there is no trained decoder to show."
        )
    elif not found.clips:
        missing = "None of the training videos chosen for this could be read."
    attention = "This trial weights all pixels equally, so there is no motion attention to show."
    if any("attention" in clip.rows for clip in found.clips):
        attention = (
            f"Attention ({task.attention.mode}): black is weight {task.attention.low:.3g}, white "
            f"{task.attention.high:.3g}, averaged over the colour channels."
        )
    rates = [f"{rate}x" for rate in found.config.pretext.playback_rate.rate_list]
    return Reconstructions(
        missing=missing,
        clip_length=found.config.clip.length,
        upsampling=task.upsampling,
        rates=joined(rates),
        attention=attention,
        clips=tuple(_clip(clip) for clip in found.clips),
    )


def _clip(clip: Clip) -> ReconstructedClip:
    sample = clip.sample
    return ReconstructedClip(
        key=sample.key,
        label=sample.label,
        sample=sample,
        columns=tuple(
            f"{'' if frame.supervised else '≈ '}{_frame_number(frame)}" for frame in sample.frames
        ),
        lines=tuple((name, _line(name, jpegs, sample)) for name, jpegs in clip.rows.items()),
    )


def _line(name: str, jpegs: Sequence[bytes], sample: ReconstructionSample) -> tuple[Picture, ...]:
    pictures = []
    for frame, jpeg in zip(sample.frames, jpegs, strict=True):
        kind, remark = "", ""
        if name == "clip" and frame.target % sample.upsampling:
            kind, remark = "held", ", most recent frame before it"
        elif name == "target" and not frame.supervised:
            kind, remark = "filled", ", interpolated"
        alternative = f"{name} at frame {_frame_number(frame)}{remark}"
        pictures.append(Picture(_data_uri(jpeg), alternative, kind))
    return tuple(pictures)


def _frame_number(frame: ShownFrame) -> str:
    """The frame's position in its video, counted from 1."""
    return f"{frame.position + 1:.4g}"


def _data_uri(jpeg: bytes) -> str:
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"
