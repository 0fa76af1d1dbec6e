"""What training the best trials again showed: the sentence that answers the sweep, and the rows of
the test part.
"""

from __future__ import annotations

from collections.abc import Mapping

from orchestrator.confirmation import Candidate
from orchestrator.report.formatting import joined, metric_title
from orchestrator.report.record import BASELINE_PREFIX, BASELINE_TITLES, Confirmation, SweepRecord

TEST = "test/"
RECALL = "retrieval/recall_at_1"
OVERLAP = ": the intervals overlap, so that pretraining helps is not shown"
PROBE = "linear_probe/accuracy"
RECOGNITION = "recognition/accuracy"


def confirmed_answer(record: SweepRecord, found: Confirmation) -> tuple[str, str]:
    """(``winner`` or ``tie`` of rate sets, the sentence that says which). Trials of one rate set
    that tie leave no doubt about the rates.
    """
    rates = {trial.number: trial.rates for trial in record.trials}
    best = found.candidates[0]
    seeds = _seeds(found.candidates[0])
    winners = rates.get(best.trial, "?")
    tied = [one for one in found.candidates if one.trial in found.tied]
    strangers = [one for one in found.candidates if rates.get(one.trial, "?") != winners]
    is_tie = any(one in tied for one in strangers) or bool(tied and not strangers)
    if is_tie:
        return (
            "tie",
            f"A tie: on {seeds} {_whom(tied, rates, strangers)}: {metric_title(RECALL)} "
            f"{joined([candidate_text(one) for one in tied])}.",
        )
    lead = (
        f"Rates {winners} are best: trial {best.trial} reaches {metric_title(RECALL)} "
        f"{candidate_text(best)} on {seeds}"
    )
    if len(found.candidates) == 1:
        return "winner", f"{lead}, the only candidate."
    following = strangers[0] if strangers else found.candidates[1]
    apart = "every candidate with other rates" if tied else "every other candidate"
    equals = [f"trial {one.trial}" for one in tied if one.trial != best.trial]
    same = f"; {joined(equals)}, with the same rates, cannot be told from it" if equals else ""
    next_best = (
        f"(next {rates.get(following.trial, '?')}, trial {following.trial}, "
        f"{candidate_text(following)})"
    )
    return "winner", f"{lead}, apart from {apart} {next_best}{same}."


def _whom(tied: list[Candidate], rates: Mapping[int, str], strangers: list[Candidate]) -> str:
    sets = {rates.get(one.trial, "?") for one in tied}
    if len(sets) > 1:
        return (
            "rates "
            + joined([f"{rates.get(one.trial, '?')} (trial {one.trial})" for one in tied])
            + " cannot be told apart"
        )
    which = f"{'both' if len(tied) == 2 else 'all'} with rates {sets.pop()}"
    return f"{joined([f'trial {one.trial}' for one in tied])}, {which}, cannot be told apart" + (
        "" if strangers else "; no other rates were a candidate"
    )


def _seeds(candidate: Candidate) -> str:
    number = len(candidate.seeds)
    return f"{number} new seed" + ("s" if number != 1 else "")


def confirmed_notes(record: SweepRecord, found: Confirmation) -> tuple[str, ...]:
    """What the trial that was taken is worth on the test part, beside the same encoder untrained;
    nothing where that was not measured.
    """
    if TEST + RECALL not in found.test:
        return ()
    untrained = f"{BASELINE_PREFIX}random_init/"
    parts = [f"{metric_title(RECALL)} {_recall(found.test, '')}"]
    parts += (
        [f"fine-tuned recognition {found.test[TEST + RECOGNITION]:.3f}"]
        if TEST + RECOGNITION in found.test
        else []
    )
    lines = [
        f"On the test part, which nothing was chosen by, trial {found.taken}: {', '.join(parts)}."
    ]
    if f"{TEST}{untrained}{RECALL}" in found.test:
        low = found.test.get(f"{TEST}{RECALL}_low")
        high = found.test.get(f"{TEST}{untrained}{RECALL}_high")
        shown = (
            "" if low is None or high is None else ": pretraining helps" if low > high else OVERLAP
        )
        lines.append(
            f"The same encoder untrained reaches {_recall(found.test, untrained)} "
            f"there{shown}. Guessing reaches {record.data.chance:.3f}."
        )
    return tuple(lines)


def test_table(found: Confirmation) -> tuple[tuple[str, ...], list[tuple[str, tuple[str, ...]]]]:
    """(head, rows) of the figures on the test part: the trial that was taken, then the baselines. A
    row is (class, cells), as for `markup.table`.
    """
    named = [f"{TEST}retrieval/recall_at_{k}" for k in range(2, 1000)]
    more = [name.removeprefix(TEST) for name in named if name in found.test] + [PROBE, RECOGNITION]
    titles = {PROBE: "linear probe", RECOGNITION: "recognition, fine-tuned"}
    head = (
        "",
        f"{metric_title(RECALL)} [95 %]",
        *(titles.get(name, metric_title(name)) for name in more),
    )
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
    return (
        title,
        _recall(test, prefix),
        *("" if value is None else f"{value:.3f}" for value in values),
    )


def _recall(test: Mapping[str, float], prefix: str) -> str:
    value, low, high = (test.get(f"{TEST}{prefix}{RECALL}{end}") for end in ("", "_low", "_high"))
    assert value is not None
    return f"{value:.3f}" if low is None or high is None else f"{value:.3f} [{low:.3f}, {high:.3f}]"
