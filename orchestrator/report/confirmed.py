"""The result of a confirmation: the sentence that answers the sweep, and the test part's table."""

from __future__ import annotations

from collections.abc import Mapping

from orchestrator.confirmation import RANDOM_INIT, BaselineVerdict, Candidate
from orchestrator.report.content import Row, Table
from orchestrator.report.findings import Outcome
from orchestrator.report.formatting import joined, metric_title, number_text, share_text
from orchestrator.report.objections import baseline_title
from orchestrator.report.record import (
    BASELINE_PREFIX,
    BASELINE_TITLES,
    ConfirmationRecord,
    SweepRecord,
)
from orchestrator.run_model import Verdict
from prp_core.evaluation.intervals import MIN_GROUPS, Interval, metric_interval

TEST = "test/"
RECALL = "retrieval/recall_at_1"
PROBE = "linear_probe/accuracy"
RECOGNITION = "recognition/accuracy"
TITLES = {PROBE: "linear probe", RECOGNITION: "fine-tuned recognition"}
LARGEST_K = 1000


VERDICTS = (Verdict.BETTER, Verdict.UNDECIDED, Verdict.WORSE, Verdict.UNKNOWN)


def confirmed_answer(record: SweepRecord, found: ConfirmationRecord) -> tuple[Outcome, str]:
    """Whether one rate set won, and the sentence that says which, and how what was taken compares
    with no pretraining and with pixels.
    """
    outcome, sentence = _comparison(record, found)
    clause = verdict_clause(found)
    return outcome, f"{sentence}{'; ' if clause else ''}{clause}."


def verdict_clause(found: ConfirmationRecord) -> str:
    """How the trial that was taken compares with the baselines, on the test part where that was
    measured; empty where it was not compared.
    """
    if not found.verdicts:
        return ""
    where = "the test part" if found.is_on_test else "the validation videos"
    said = [
        f"{verdict} {joined([_against(one) for one in found.verdicts if _is(one, verdict)])}"
        for verdict in VERDICTS
        if any(_is(one, verdict) for one in found.verdicts)
    ]
    if any(_is(one, Verdict.UNKNOWN) for one in found.verdicts):
        said[-1] += f" (fewer than {MIN_GROUPS} groups of videos)"
    return f"on {where} trial {found.taken} is {joined(said)}"


def verdict_words(found: ConfirmationRecord) -> str:
    """The verdicts in a few words, for a tag; empty where there are none."""
    return "; ".join(
        f"{one.difference.verdict} {baseline_title(one.name)}" for one in found.verdicts
    )


def _is(one: BaselineVerdict, verdict: Verdict) -> bool:
    return one.difference.verdict is verdict


def _against(one: BaselineVerdict) -> str:
    return f"{baseline_title(one.name)} ({one.difference.text})"


def _comparison(record: SweepRecord, found: ConfirmationRecord) -> tuple[Outcome, str]:
    """Whether one rate set won, and the beginning of the sentence.

    A tie among trials of one rate set leaves no doubt about the rates: it is a winner.
    """
    rates = {trial.number: trial.rates for trial in record.trials}
    best = found.candidates[0]
    seeds = _seeds(best)
    winner = rates.get(best.trial, "?")
    tied = [one for one in found.candidates if one.trial in found.tied]
    others = [one for one in found.candidates if rates.get(one.trial, "?") != winner]
    if any(one in tied for one in others) or (tied and not others):
        return Outcome.TIE, _tie(tied, others, rates, seeds, _metric(record))
    reached = f"{best.trial} reaches {_metric(record)} {candidate_text(best)} on {seeds}"
    if len(found.candidates) == 1:
        return Outcome.WINNER, f"Trial {reached}, the only candidate; {_no_others(winner)}"
    lead = f"Rates {winner} are best: trial {reached}" if others else f"Trial {reached}"
    next_best = others[0] if others else found.candidates[1]
    others_text = "every candidate with other rates" if tied else "every other candidate"
    equals = [f"trial {one.trial}" for one in tied if one.trial != best.trial]
    same = ""
    if equals:
        verb = "is" if len(equals) == 1 else "are"
        same = f"; {joined(equals)}, with the same rates, {verb} not distinguishable from it"
    elif not others:
        same = f"; {_no_others(winner)}"
    return (
        Outcome.WINNER,
        f"{lead}, significantly above {others_text} (next {rates.get(next_best.trial, '?')}, "
        f"trial {next_best.trial}, {candidate_text(next_best)}){same}",
    )


def _no_others(rates: str) -> str:
    return f"its rates, {rates}, were compared with no others"


def _tie(
    tied: list[Candidate],
    others: list[Candidate],
    rates: Mapping[int, str],
    seeds: str,
    metric: str,
) -> str:
    values = joined([candidate_text(one) for one in tied])
    if len({rates.get(one.trial, "?") for one in tied}) > 1:
        named = [f"{rates.get(one.trial, '?')} (trial {one.trial})" for one in tied]
        subject = f"rates {joined(named)} are not distinguishable"
    else:
        named = [f"trial {one.trial}" for one in tied]
        which = f"{'both' if len(tied) == 2 else 'all'} with rates {rates.get(tied[0].trial, '?')}"
        subject = f"{joined(named)}, {which}, are not distinguishable"
        subject += "" if others else "; no candidate had other rates"
    return f"A tie: on {seeds} {subject}: {metric} {values}"


def _metric(record: SweepRecord) -> str:
    return metric_title(record.config.sweep.recall_at_1)


def _seeds(candidate: Candidate) -> str:
    number = len(candidate.seeds)
    return f"{number} new seed" + ("s" if number != 1 else "")


def confirmed_notes(record: SweepRecord, found: ConfirmationRecord) -> tuple[str, ...]:
    """The test results of the trial that was taken, beside those of the same encoder untrained.

    Empty where the test part was not evaluated.
    """
    recall = record.config.sweep.recall_at_1
    if TEST + recall not in found.test:
        return ()
    untrained = f"{BASELINE_PREFIX}random_init/"
    results = [f"{_metric(record)} {_recall(found.test, '', recall)}"]
    if TEST + RECOGNITION in found.test:
        results.append(f"{TITLES[RECOGNITION]} {found.test[TEST + RECOGNITION]:.3f}")
    lines = [
        f"On the test part, which was not used for any selection, trial {found.taken} reaches "
        f"{', '.join(results)}."
    ]
    if f"{TEST}{untrained}{recall}" in found.test:
        lines.append(
            f"The same encoder untrained reaches {_recall(found.test, untrained, recall)} "
            f"there: {_pretraining(found)}. Chance level: {record.data.chance:.3f}."
        )
    return tuple(lines)


def _pretraining(found: ConfirmationRecord) -> str:
    """What the runs with several seeds say of pretraining."""
    of_random = [one for one in found.verdicts if one.name == RANDOM_INIT]
    if not of_random or not found.is_on_test:
        return "one seed each, so that the two are not compared"
    return {
        Verdict.BETTER: "pretraining helps",
        Verdict.WORSE: "with this pretraining it is worse",
        Verdict.UNDECIDED: "there is no evidence that pretraining helps",
        Verdict.UNKNOWN: f"fewer than {MIN_GROUPS} groups of videos are too few to compare",
    }[of_random[0].difference.verdict]


def selected_beside_untrained(reached: Interval, untrained: Interval) -> str:
    """What the interval of an encoder and that of the same one untrained say of pretraining, where
    the encoder was selected by the very videos that it is measured on.

    The best of many trials is then above one random initialisation more often than not, whatever
    pretraining is worth.
    """
    if untrained.is_above(reached):
        return "with this pretraining it is worse"
    if not reached.is_above(untrained):
        return "the intervals overlap, so there is no evidence that pretraining helps"
    return (
        "it is better on the videos that it was selected by, which is no evidence yet that "
        "pretraining helps; the test part and a confirmation can give it"
    )


def test_table(found: ConfirmationRecord, recall: str = RECALL) -> Table:
    """The results on the test part: the trial that was taken, then the baselines."""
    named = [f"{recall.removesuffix('1')}{k}" for k in range(2, LARGEST_K)]
    more = [name for name in (*named, PROBE, RECOGNITION) if TEST + name in found.test]
    head = (
        "",
        f"{metric_title(recall)} [95 %]",
        *(TITLES.get(name, metric_title(name)) for name in more),
    )
    rows = [Row(_cells(found.test, f"trial {found.taken}", "", more, recall), "best")]
    for name, title in BASELINE_TITLES.items():
        if f"{TEST}{BASELINE_PREFIX}{name}/{recall}" in found.test:
            cells = _cells(found.test, title, f"{BASELINE_PREFIX}{name}/", more, recall)
            rows.append(Row(cells, "soft"))
    return Table(head=head, rows=tuple(rows), numeric=range(1, len(head)))


def candidate_text(candidate: Candidate) -> str:
    """``0.431 [0.192, 0.670]``: the mean over seeds and its interval, over new seeds and scenes."""
    if candidate.low is None or candidate.high is None:
        return f"{candidate.mean:.3f}"
    return f"{candidate.mean:.3f} [{candidate.low:.3f}, {candidate.high:.3f}]"


def _cells(
    test: Mapping[str, float], title: str, prefix: str, more: list[str], recall: str
) -> tuple[str, ...]:
    values = (number_text(test.get(f"{TEST}{prefix}{name}")) for name in more)
    return (title, _recall(test, prefix, recall), *values)


def _recall(test: Mapping[str, float], prefix: str, recall: str) -> str:
    name = f"{TEST}{prefix}{recall}"
    return share_text(test[name], metric_interval(test, name))
