"""The pruning decisions of a study: made by the pruner's rule, kept as notes of the trials.

A base class of `SweepStudy`, which says what trials and notes there are.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace

from orchestrator.search.extension import Extension, comparable_scores, extension_of
from orchestrator.search.handed_out_trials import HandedOutTrials
from orchestrator.search.pruner import (
    MarksOf,
    PruningDecision,
    PruningRule,
    decide,
    decide_late,
    decide_overtaken,
)
from orchestrator.search.query_hits import HITS

DECISION = "pruning_decision/"  # + epoch: the note of a trial with the decision at that rung


class DecidedTrials(HandedOutTrials):
    """Decides which trials go on after a rung; what was decided once is not decided again."""

    def extension(self, number: int) -> Extension | None:
        """How trial `number` continues another one; None where it does not."""
        return extension_of(self.trials()[number])

    def decide(
        self, number: int, epoch: int, rule: PruningRule, *, is_last_rung: bool
    ) -> PruningDecision:
        """The pruning decision on trial `number` at the rung after `epoch` epochs; stored, and the
        same again when asked again.
        """
        if (stored := self._stored_decision(number, epoch)) is not None:
            return stored
        decision = decide(
            self._rule_for(number, rule),
            number=number,
            epoch=epoch,
            scores=comparable_scores(self.trials(), number),
            is_last_rung=is_last_rung,
            marks_of=self._marks_of(rule),
        )
        self.set_decision(number, epoch, decision)
        return decision

    def decide_late(
        self,
        number: int,
        epoch: int,
        rule: PruningRule,
        *,
        last_epoch: int,
        submitted: Iterable[int],
    ) -> PruningDecision:
        """As `decide`, on a trial that may be beyond that rung: see `pruner.decide_late`."""
        if (stored := self._stored_decision(number, epoch)) is not None:
            return stored
        decision = decide_late(
            self._rule_for(number, rule),
            number=number,
            epoch=epoch,
            last_epoch=last_epoch,
            scores=comparable_scores(self.trials(), number),
            submitted=submitted,
            marks_of=self._marks_of(rule),
        )
        self.set_decision(number, epoch, decision)
        return decision

    def decide_overtaken(
        self, epoch: int, last_epochs: Mapping[int, int], rule: PruningRule
    ) -> dict[int, PruningDecision]:
        """Which running trials are pruned at rung `epoch` after all: see `pruner.decide_overtaken`.

        `last_epochs` is running trial -> its number of epochs. Decisions are stored.
        """
        decisions = decide_overtaken(
            rule,
            epoch=epoch,
            last_epochs={one: last for one, last in last_epochs.items() if not self.extension(one)},
            scores=comparable_scores(self.trials()),
            marks_of=self._marks_of(rule),
        )
        for number, decision in decisions.items():
            self.set_decision(number, epoch, decision)
        return decisions

    def set_decision(self, number: int, epoch: int, decision: PruningDecision) -> None:
        """Store `decision` as the one on trial `number` at the rung after `epoch` epochs."""
        self.set_note(
            number,
            f"{DECISION}{epoch}",
            json.dumps({"go_on": decision.go_on, "reason": decision.reason}),
        )

    def pruned_at(self, number: int) -> int | None:
        """The first rung at which trial `number` was pruned; None where it never was."""
        decisions = {
            int(name.removeprefix(DECISION)): json.loads(text)
            for name, text in self.trials()[number].user_attrs.items()
            if name.startswith(DECISION)
        }
        return min(
            (epoch for epoch, decision in decisions.items() if not decision["go_on"]), default=None
        )

    def _marks_of(self, rule: PruningRule) -> MarksOf:
        trials = self.trials()

        def marks(number: int, epoch: int) -> str:
            return rule.queries.marks(trials[number].user_attrs.get(f"{HITS}{epoch}", ""))

        return marks

    def _rule_for(self, number: int, rule: PruningRule) -> PruningRule:
        return replace(rule, pruner="none") if self.extension(number) else rule

    def _stored_decision(self, number: int, epoch: int) -> PruningDecision | None:
        stored = self.trials()[number].user_attrs.get(f"{DECISION}{epoch}")
        return None if stored is None else PruningDecision(**json.loads(stored))
