"""The notes on how a sweep was judged, where that is not the usual way: on another corpus."""

from __future__ import annotations

from orchestrator.report.record import SweepRecord


def judged_notes(record: SweepRecord) -> tuple[str, ...]:
    """Sentences that belong beside the answer of `record`; none where its own videos, divided,
    are what encoders were judged on.
    """
    words = record.spec.judged_words
    if not words:
        return ()
    data = record.data
    return (
        f"{words[0].upper()}{words[1:]}: queries are validation videos of the other corpus, "
        f"measured against its {data.num_gallery} training videos, of which nothing was learnt.",
    )
