"""The showcase of a trial as one self-contained HTML page: whom its encoder finds for a few
queries, and what its decoder draws.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from orchestrator.config.run_config import RunConfig
from orchestrator.report import markup
from orchestrator.report.findings import short_name
from orchestrator.report.formatting import joined
from prp_core.evaluation.intervals import wilson_interval
from prp_core.evaluation.neighbours import Answer, Neighbour, Retrieved
from prp_core.pretext.reconstruction_sample import ReconstructionSample, ShownFrame

STYLE = (Path(__file__).parent / "templates" / "showcase.css").read_text(encoding="utf-8")


@dataclass(frozen=True)
class Strip:
    """Frames of a video as JPEGs; `positions` (from 0) of its `num_frames` frames."""

    jpegs: tuple[bytes, ...]
    positions: tuple[int, ...]
    num_frames: int


@dataclass(frozen=True)
class Clip:
    """A reconstruction, and its `rows` of one JPEG a frame: ``clip``, ``target``, ``output`` and,
    where there is one, ``attention``.
    """

    sample: ReconstructionSample
    rows: Mapping[str, tuple[bytes, ...]]


@dataclass(frozen=True, kw_only=True)
class Showcase:
    """All that the page of `trial` shows. `strips` are by key; `left_out` are (key, reason) of
    chosen videos that could not be read.
    """

    sweep_id: str
    trial: int
    values: Mapping[str, Any]
    config: RunConfig
    retrieved: Retrieved
    strips: Mapping[str, Strip]
    clips: Sequence[Clip]
    left_out: tuple[tuple[str, str], ...] = ()


def showcase_page(found: Showcase) -> str:
    """The page; it loads nothing, runs nothing, and every text in it is escaped."""
    title = f"Trial {found.trial} of sweep {found.sweep_id}: what it retrieves and reconstructs"
    return markup.page_html(
        title, (_head(found), _retrieval(found), _reconstruction(found)), style=STYLE
    )


def _head(found: Showcase) -> str:
    values = {
        short_name(path): f"{value:.3g}" if isinstance(value, float) else str(value)
        for path, value in found.values.items()
    }
    config = found.config
    facts = {
        "sampled": ", ".join(f"{name} {text}" for name, text in values.items()),
        "network": f"{config.encoder.name} after {config.training.num_epochs} epochs, its newest "
        "checkpoint, in evaluation mode",
        "left out": ", ".join(f"{key} ({reason})" for key, reason in found.left_out),
    }
    eyebrow = f'<p class="eyebrow">Sweep {escape(found.sweep_id)}</p>'
    return (
        f'<header id="trial">{eyebrow}<h1>Trial {found.trial}: '
        f"{escape(_headline(found))}</h1>{markup.facts(facts)}</header>"
    )


def _headline(found: Showcase) -> str:
    answers = found.retrieved.answers
    num_right = sum(answer.is_right for answer in answers)
    return f"{num_right} of {len(answers)} queries have a right first neighbour"


def _retrieval(found: Showcase) -> str:
    retrieved = found.retrieved
    interval = wilson_interval(
        round(retrieved.recall_at_1 * retrieved.num_queries), retrieved.num_queries
    )
    recall = (
        f"Of all {retrieved.num_queries} validation videos it is "
        f"{retrieved.recall_at_1:.3f} [{interval.low:.3f}, {interval.high:.3f}]: the "
        "recall@1 "
        f"of this network, cosine neighbours among {retrieved.num_gallery} training "
        "videos. The queries were chosen by a hash of their names, one "
        "class after the other: they are the same for every trial, and say nothing of "
        "how it does on the others."
    )
    legend = (
        '<p class="small"><b style="color:var(--right)">✓ in a solid frame</b>: the '
        'query&#x27;s class. <b style="color:#b34e00">✗ in a dashed '
        "frame</b>: another class. The number is the cosine similarity. Each strip "
        "runs evenly from a video&#x27;s first frame to its last.</p>"
    )
    unread = len(retrieved.unread_queries) + len(retrieved.unread_gallery)
    note = (
        f"{unread} videos of these parts could not be read; they ask nothing and are not found."
        if unread
        else ""
    )
    rows = "\n".join(_row(found, answer) for answer in retrieved.answers)
    parts = (
        markup.paragraph(recall),
        legend,
        markup.paragraph(note, "small") if note else "",
        rows,
    )
    return markup.section("retrieval", "Whom it finds", *parts)


def _row(found: Showcase, answer: Answer) -> str:
    query = _card(
        "query",
        found.strips.get(answer.key),
        answer.key,
        f"<span>query</span> <b>{escape(answer.label)}</b>",
        f"query, {answer.label}",
    )
    cards = [_neighbour(found, place, one) for place, one in enumerate(answer.neighbours, start=1)]
    return f'<div class="row">{query}{"".join(cards)}</div>'


def _neighbour(found: Showcase, place: int, one: Neighbour) -> str:
    kind, sign = ("right", "✓") if one.is_right else ("wrong", "✗")
    mark = f'<span class="mark"><span aria-hidden="true">{sign}</span> {escape(one.label)}</span>'
    caption = f'<span class="number">{one.similarity:.4f}</span>{place}. {mark}'
    return _card(
        kind,
        found.strips.get(one.key),
        one.key,
        caption,
        f"neighbour {place}, {one.label}, {kind}, similarity {one.similarity:.4f}",
    )


def _card(kind: str, strip: Strip | None, key: str, caption: str, spoken: str) -> str:
    if strip is None:
        pictures = '<p class="absent">its frames could not be read</p>'
    else:
        alts = (f"frame {position + 1} of {strip.num_frames}" for position in strip.positions)
        drawn = [_picture(jpeg, alt) for jpeg, alt in zip(strip.jpegs, alts, strict=True)]
        pictures = f'<div class="strip">{"".join(drawn)}</div>'
    name = f'<span class="key" title="{escape(key)}">{escape(key)}</span>'
    return (
        f'<figure class="card {kind}" '
        f'aria-label="{escape(spoken)}">{pictures}<figcaption>{caption}{name}</figcaption></figure>'
    )


def _picture(jpeg: bytes, alternative: str, kind: str = "") -> str:
    of_class = f' class="{kind}"' if kind else ""
    return (
        f'<img{of_class} alt="{escape(alternative)}" '
        f'src="data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}">'
    )


def _reconstruction(found: Showcase) -> str:
    title = "What it draws"
    slow_motion = found.config.pretext.slow_motion
    if not slow_motion.loss_weight:
        off = (
            "The slow-motion task was off in this trial (pretext.slow_motion.loss_weight = "
            "0): its decoder learnt nothing, so nothing is drawn."
        )
        return markup.section("reconstruction", title, markup.paragraph(off))
    if not found.clips:
        return markup.section(
            "reconstruction",
            title,
            markup.paragraph("No training video that was chosen for this could be read."),
        )
    rates = [f"{rate}x" for rate in found.config.pretext.playback_rate.rate_list]
    what = (
        f"Clips of {found.config.clip.length} frames from the middle of training "
        f"videos, at the rates {joined(rates)} of this trial in turn. From "
        f"the clip the network draws {slow_motion.upsampling} times as many frames; the "
        "target is what was really there. A column is a moment, "
        "named by its frame in the video. Faded in the first row: the clip has no "
        "frame at that moment, its newest one is shown. A number with ≈ "
        "and a dashed frame: a target frame that is interpolated between two frames, "
        "not supervised, so that it does not count in the loss."
    )
    attention = slow_motion.attention
    weights = (
        (
            f"Attention ({attention.mode}): black weighs {attention.low:.3g}, white "
            f"{attention.high:.3g}, the mean over the colours."
        )
        if any("attention" in clip.rows for clip in found.clips)
        else "This trial weighs all pixels alike: there is no motion attention to show."
    )
    clips = f'<div class="clips">{"".join(_clip(clip) for clip in found.clips)}</div>'
    return markup.section(
        "reconstruction", title, markup.paragraph(what), markup.paragraph(weights, "small"), clips
    )


def _clip(clip: Clip) -> str:
    sample = clip.sample
    head = "".join(f'<th scope="col">{_moment(frame)}</th>' for frame in sample.frames)
    lines = "".join(_line(name, pictures, sample) for name, pictures in clip.rows.items())
    verdict = "right" if sample.named_rate == sample.rate else "wrong"
    facts = (
        f"Upsampling {sample.upsampling}; {sample.num_supervised} of "
        f"{sample.num_targets} target frames are supervised. Weighted error "
        f"{sample.error:.4f}; the clip's mean colour everywhere would have "
        f"{sample.error_of_mean:.4f}, its frames repeated "
        f"{sample.error_of_repeating:.4f}. The classifier names the clip "
        f"{sample.named_rate}x ({sample.named_share:.0%} sure): {verdict}."
    )
    title = f"<h3>{sample.rate}x · {escape(sample.label)}</h3>"
    name = f'<span class="key" title="{escape(sample.key)}">{escape(sample.key)}</span>'
    table = (
        "<table><thead><tr><th "
        f'scope="col">frame</th>{head}</tr></thead><tbody>{lines}</tbody></table>'
    )
    return f"<figure>{title}{name}{table}<figcaption><p>{escape(facts)}</p></figcaption></figure>"


def _moment(frame: ShownFrame) -> str:
    return f"{'' if frame.supervised else '≈ '}{frame.position + 1:.4g}"


def _line(name: str, pictures: Sequence[bytes], sample: ReconstructionSample) -> str:
    cells = []
    for frame, jpeg in zip(sample.frames, pictures, strict=True):
        kind = ""
        said = ""
        if name == "clip" and frame.target % sample.upsampling:
            kind = "held"
            said = ", the newest before it"
        elif name == "target" and not frame.supervised:
            kind = "filled"
            said = ", interpolated"
        cells.append(
            f"<td>{_picture(jpeg, f'{name} at frame {frame.position + 1:.4g}{said}', kind)}</td>"
        )
    return f'<tr><th scope="row">{escape(name)}</th>{"".join(cells)}</tr>'
