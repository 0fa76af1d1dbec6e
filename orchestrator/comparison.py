"""The comparison of confirming runs: who is beaten, who is taken, and how it stands to baselines.

Pure: a function of the runs, whatever the order in which they came. The rule is told in
`confirmation.py`, the model of the runs is `run_model.py`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.confirmation import (
    ERROR,
    RANDOM_INIT,
    BaselineVerdict,
    Candidate,
    Confirmation,
    ConfirmationOutcome,
    ConfirmedRun,
    Rules,
    confirm_seeds,
    error_levels,
    runs_to_do,
)
from orchestrator.run_model import BROKEN, NO_LUCK, Difference, Luck, RunModel, Verdict
from prp_core.evaluation.intervals import MIN_GROUPS


@dataclass(frozen=True)
class Assessment:
    """What the runs show so far (None: no two candidates have theirs), and which (trial, seed)
    pairs the rules ask for next; none where it is over.
    """

    confirmation: Confirmation | None
    wanted: tuple[tuple[int, int], ...]


def assess(
    trials: Sequence[int],
    base_seed: int,
    runs: Sequence[ConfirmedRun],
    failed: Mapping[tuple[int, int], Any],
    rules: Rules,
    *,
    group_of: Mapping[str, str],
    costs: Mapping[int, float],
) -> Assessment:
    """What the `runs` of `trials` show by `rules`, and which runs are wanted next.

    A function of all runs, whatever the order in which they came. A trial of which a run of the
    first look `failed` is no candidate; of one that failed later the others count. `group_of` is
    each query's group by its key, `costs` what a trial's training took.
    """
    done = {(run.trial, run.seed): run for run in runs}
    groups = [group_of[key] for key in sorted(group_of)]
    first = confirm_seeds(base_seed, rules.looks[0])
    alive = [trial for trial in trials if not any((trial, seed) in failed for seed in first)]
    found: Confirmation | None = None
    beaten: dict[int, Difference] = {}
    for num_seeds, level in zip(rules.looks, error_levels(rules.looks), strict=True):
        seeds = confirm_seeds(base_seed, num_seeds)
        standing = [trial for trial in alive if trial not in beaten]
        wanted = runs_to_do(standing, seeds, {**done, **failed})
        if wanted or len(alive) < 2:
            return Assessment(found, tuple(wanted))
        rows = {
            trial: [done[trial, seed] for seed in seeds if (trial, seed) in done] for trial in alive
        }
        found = compare(rows, groups, beaten, rules, costs, level=level)
        if found.is_decided:
            break
    return Assessment(found, ())


def compare(
    runs_of: Mapping[int, Sequence[ConfirmedRun]],
    groups: Sequence[str],
    beaten: dict[int, Difference],
    rules: Rules,
    costs: Mapping[int, float],
    *,
    level: float,
) -> Confirmation:
    """The confirmation of at least two trials by their runs, at one look that spends `level`.

    `beaten` has the trials that an earlier look found beaten; those that this one does are added.
    """
    model = RunModel(
        {str(trial): [run.hits for run in runs] for trial, runs in runs_of.items()},
        groups,
        trained=[str(trial) for trial in runs_of],
    )
    ranked = sorted(runs_of, key=lambda trial: (-model.recall(str(trial)), trial))
    standing = [trial for trial in ranked if trial not in beaten]
    best = standing[0]
    ahead = {
        other: model.difference(str(best), str(other), confidence=1 - level)
        for other in standing[1:]
    }
    beaten.update({other: one for other, one in ahead.items() if one.verdict is Verdict.BETTER})
    tied = tuple(trial for trial in standing if trial not in beaten)
    candidates = _candidates(model, ranked, tied, runs_of)
    taken = _taken(candidates, tied, costs, rules.margin)
    is_winner = len(tied) == 1
    luck = NO_LUCK
    for other in runs_of.keys() - {taken}:
        luck = luck.plus(model.luck_of(str(other)))
    text = (
        _text_of_winner(candidates, best, ahead)
        if is_winner
        else _text_of_tie(candidates, tied, taken, ahead, rules.margin, costs)
    )
    losses = [one.expected_loss for one in candidates if one.trial in tied]
    is_known = model.num_groups >= MIN_GROUPS
    return Confirmation(
        candidates=candidates,
        outcome=ConfirmationOutcome.WINNER if is_winner else ConfirmationOutcome.TIE,
        taken=taken,
        text=text,
        tied=() if is_winner else tied,
        baselines=baseline_verdicts(
            runs_of[taken],
            groups,
            luck=luck,
            taken_of=len(runs_of),
            selected_of=rules.num_measured,
        ),
        luck=luck,
        is_decided=is_winner
        or not is_known
        or all(loss is not None and loss <= rules.margin for loss in losses),
        num_unread=len(groups) - model.num_queries,
    )


def baseline_verdicts(
    runs: Sequence[ConfirmedRun],
    groups: Sequence[str],
    *,
    luck: Luck,
    taken_of: int,
    selected_of: int = 1,
) -> tuple[BaselineVerdict, ...]:
    """How the runs of one trial compare with their baselines, random initialisation with the same
    seeds first; none where a run has none.

    `luck` is that of the other candidates' training. `taken_of`: the trial was taken out of so many
    candidates by its runs with these seeds, whose luck shows on any videos. `selected_of`: it was
    selected on these videos as the best of so many. Against random initialisation at 95 %; the
    others divide the probability of error of one comparison among them.
    """
    names = [name for name in runs[0].baselines if all(name in run.baselines for run in runs)]
    if not names:
        return ()
    rows = {"trained": [run.hits for run in runs]}
    for name in names:  # pixels are the same for every seed
        rows[name] = [run.baselines[name] for run in (runs if name == RANDOM_INIT else runs[:1])]
    model = RunModel(rows, groups, trained=["trained"], known=luck)
    return tuple(
        BaselineVerdict(
            name=name,
            recall=model.recall(name),
            difference=model.difference(
                "trained",
                name,
                confidence=1 - ERROR / (1 if name == RANDOM_INIT else len(names) + 1),
                selected_of=selected_of,
                taken_of=taken_of,
            ),
        )
        for name in sorted(names, key=lambda name: name != RANDOM_INIT)
    )


def _candidates(
    model: RunModel,
    ranked: Sequence[int],
    tied: Sequence[int],
    runs_of: Mapping[int, Sequence[ConfirmedRun]],
) -> tuple[Candidate, ...]:
    """The candidates: those that stand first, each by its mean over the queries that every run
    read.
    """
    chances = model.chances([str(trial) for trial in ranked])
    recalls = {trial: tuple(run.recall_at_1 for run in runs) for trial, runs in runs_of.items()}
    if any(BROKEN in run.hits for runs in runs_of.values() for run in runs):
        recalls = {trial: tuple(model.recalls(str(trial))) for trial in runs_of}
    found = []
    for trial in sorted(ranked, key=lambda one: one not in tied):
        interval = model.interval(str(trial))
        win, loss = chances[str(trial)]
        is_known = interval is not None
        found.append(
            Candidate(
                trial,
                tuple(run.seed for run in runs_of[trial]),
                recalls[trial],
                interval.low if interval else None,
                interval.high if interval else None,
                win if is_known else None,
                loss if is_known else None,
            )
        )
    return tuple(found)


def _taken(
    candidates: Sequence[Candidate],
    tied: Sequence[int],
    costs: Mapping[int, float],
    margin: float,
) -> int:
    """The cheapest of the tied whose expected loss is within the margin; the best one where there
    is no other.
    """
    best = candidates[0].trial
    within = [
        one.trial
        for one in candidates
        if one.trial in tied and one.expected_loss is not None and one.expected_loss <= margin
    ]
    choice = {best, *within}
    return min(choice, key=lambda trial: (costs.get(trial, math.inf), trial != best, trial))


def _text_of_winner(
    candidates: Sequence[Candidate], best: int, ahead: Mapping[int, Difference]
) -> str:
    """`ahead`: how far the best one lies above those that an earlier look had not found beaten,
    perhaps by another one that was the best then.
    """
    winner = next(one for one in candidates if one.trial == best)
    other = min(ahead, key=lambda trial: ahead[trial].low or 0.0)
    return (
        f"trial {best} wins: {_figures(winner)}, better than every other candidate "
        f"on {len(winner.seeds)} new seeds; ahead of trial {other} by {ahead[other].text}"
    )


def _text_of_tie(
    candidates: Sequence[Candidate],
    tied: Sequence[int],
    taken: int,
    ahead: Mapping[int, Difference],
    margin: float,
    costs: Mapping[int, float],
) -> str:
    by_trial = {one.trial: one for one in candidates}
    best = candidates[0]
    other = next(trial for trial in ahead if trial in tied)
    names = ", ".join(str(trial) for trial in tied)
    lead = (
        f"a tie: trials {names} cannot be told apart on {len(best.seeds)} new seeds (best "
        f"{_figures(best)}; ahead of trial {other} by {ahead[other].text}"
    )
    if best.prob_best is None:
        return (
            f"{lead}; fewer than the {MIN_GROUPS} scenes that an interval needs); taken is trial "
            f"{taken}, the best of them here"
        )
    loss = by_trial[taken].expected_loss or 0.0
    cost = costs.get(taken, math.inf)
    is_cheapest = all(costs.get(trial, math.inf) >= cost for trial in tied)
    if taken != best.trial:
        why = (
            f"the cheapest to train of those whose expected loss is within the margin of {margin:g}"
        )
    elif is_cheapest:
        why = "the best of them here, and none of them was cheaper to train"
    else:
        why = (
            f"the best of them here: the expected loss of each cheaper one is above the margin of "
            f"{margin:g}"
        )
    return f"{lead}); taken is trial {taken}, {why} (its own: {loss:.3f})"


def _figures(candidate: Candidate) -> str:
    if candidate.low is None or candidate.high is None:
        return f"recall@1 {candidate.mean:.3f}"
    chance = f", best with probability {candidate.prob_best:.2f}" if candidate.prob_best else ""
    bounds = f"[{candidate.low:.3f}, {candidate.high:.3f}]"
    return f"recall@1 {candidate.mean:.3f} {bounds}{chance}"
