"""Notes on how a sweep was judged, where not as usual: on another corpus, or without labels."""

from __future__ import annotations

from orchestrator.report.record import BASELINE_PREFIX, SweepRecord

EFFECTIVE_RANK = "label_free/effective_rank"
LABEL_FREE_WORDS = (
    "Label-free: it is the share of validation videos whose first third finds its own last third "
    "among those of all videos; whether videos of one class lie together was not measured."
)
CORRELATION = (
    "On the demo it ranks 13 encoders as recall over classes does by +0.53 [-0.40, +0.91] "
    "(Spearman's correlation), which is little to choose by."
)


def judged_notes(record: SweepRecord) -> tuple[str, ...]:
    """Sentences that belong beside the answer of `record`; none where its own videos, divided,
    are what encoders were judged on.
    """
    notes = []
    words, data = record.spec.judged_words, record.data
    if words:
        notes.append(
            f"{words[0].upper()}{words[1:]}: queries are validation videos of the other corpus, "
            f"measured against its {data.num_gallery} training videos, of which nothing was learnt."
        )
    if record.config.sweep.is_label_free:
        best = record.taken or record.best
        rank = best.metrics.get(EFFECTIVE_RANK) if best else None
        ranked = "" if rank is None else f" Its features have an effective rank of {rank:.1f}."
        notes.append(f"{LABEL_FREE_WORDS}{ranked} {_of_pixels(record)}{CORRELATION}")
    return tuple(notes)


def _of_pixels(record: SweepRecord) -> str:
    value = record.baselines.get(f"{BASELINE_PREFIX}mean_frame/{record.objective}")
    if value is None:
        return ""
    return f"The mean frame alone reaches {value:.3f}: colours and places are enough for that. "
