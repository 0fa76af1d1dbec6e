"""What training the best trials again showed: the sentence that answers the sweep, and the rows of the test part."""

from __future__ import annotations

from collections.abc import Mapping

from orchestrator.confirm import Candidate
from orchestrator.report.words import joined, metric_title
from orchestrator.sweep_record import BASELINE_PREFIX, BASELINE_TITLES, Confirmation, SweepRecord

TEST = "test/"
RECALL = "retrieval/recall_at_1"
PROBE, RECOGNITION = "linear_probe/accuracy", "recognition/accuracy"


def confirmed_headline(record: SweepRecord, found: Confirmation) -> str:
    """Who won on new seeds, or who cannot be told apart, by rate set and trial."""
    rates = {trial.number: trial.rates for trial in record.trials}
    best, others = found.candidates[0], found.candidates[1:]
    seeds = f"{len(best.seeds)} new seed" + ("s" if len(best.seeds) != 1 else "")
    if found.verdict == "tie":
        tied = [one for one in found.candidates if one.trial in found.tied]
        sets = {rates.get(one.trial, "?") for one in tied}
        if len(sets) == 1:
            whom = f"{joined([f'trial {one.trial}' for one in tied])}, {'both' if len(tied) == 2 else 'all'} with rates {sets.pop()},"
        else:
            whom = "rates " + joined([f"{rates.get(one.trial, '?')} (trial {one.trial})" for one in tied])
        return f"A tie: on {seeds} {whom} cannot be told apart: {metric_title(RECALL)} {joined([candidate_text(one) for one in tied])}."
    lead = f"trial {best.trial} reaches {metric_title(RECALL)} {candidate_text(best)} on {seeds}"
    if not others:
        return f"Rates {rates.get(best.trial, '?')} are best: {lead}, the only candidate."
    following = f"next {rates.get(others[0].trial, '?')}, trial {others[0].trial}, {candidate_text(others[0])}"
    return f"Rates {rates.get(best.trial, '?')} are best: {lead}, apart from every other candidate ({following})."


def confirmed_notes(found: Confirmation) -> tuple[str, ...]:
    """What the trial that was taken is worth on the test part; nothing before that was measured."""
    if TEST + RECALL not in found.test:
        return ()
    untrained = found.test.get(f"{TEST}{BASELINE_PREFIX}random_init/{RECALL}")
    parts = [f"{metric_title(RECALL)} {_recall(found.test, '')}", "" if untrained is None else f"untrained {untrained:.3f}"]
    parts.append(f"fine-tuned recognition {found.test[TEST + RECOGNITION]:.3f}" if TEST + RECOGNITION in found.test else "")
    return (f"On the test part, which nothing was chosen by, trial {found.taken}: {', '.join(part for part in parts if part)}.",)


def test_table(found: Confirmation) -> tuple[tuple[str, ...], list[tuple[str, tuple[str, ...]]]]:
    """(head, rows) of the figures on the test part: the trial that was taken, then the baselines. A row is (class, cells), as for `markup.table`."""
    named = [f"{TEST}retrieval/recall_at_{k}" for k in range(2, 1000)]
    more = [name.removeprefix(TEST) for name in named if name in found.test] + [PROBE, RECOGNITION]
    titles = {PROBE: "linear probe", RECOGNITION: "recognition, fine-tuned"}
    head = ("", f"{metric_title(RECALL)} [95 %]", *(titles.get(name, metric_title(name)) for name in more))
    rows = [("best", _cells(found.test, f"trial {found.taken}", "", more))]
    for name, title in BASELINE_TITLES.items():
        if f"{TEST}{BASELINE_PREFIX}{name}/{RECALL}" in found.test:
            rows.append(("soft", _cells(found.test, title, f"{BASELINE_PREFIX}{name}/", more)))
    return head, rows


def candidate_text(candidate: Candidate) -> str:
    """``0.431 [0.192, 0.670]``: the mean over seeds and its interval."""
    return f"{candidate.mean:.3f} [{candidate.low:.3f}, {candidate.high:.3f}]"


def _cells(test: Mapping[str, float], title: str, prefix: str, more: list[str]) -> tuple[str, ...]:
    values = (test.get(f"{TEST}{prefix}{name}") for name in more)
    return (title, _recall(test, prefix), *("" if value is None else f"{value:.3f}" for value in values))


def _recall(test: Mapping[str, float], prefix: str) -> str:
    value, low, high = (test.get(f"{TEST}{prefix}{RECALL}{end}") for end in ("", "_low", "_high"))
    assert value is not None
    return f"{value:.3f}" if low is None or high is None else f"{value:.3f} [{low:.3f}, {high:.3f}]"
