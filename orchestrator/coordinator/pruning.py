"""The pruning decisions of a sweep, made by its rule and its budget and stored in the study.

A decision that is stored is given again when the same question is asked again: a trial that
resumes at a rung, or a coordinator that was restarted, hears what was said the first time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from orchestrator.config.run_config import RunConfig
from orchestrator.cost.account import SweepAccount
from orchestrator.search.pruner import PruningDecision, PruningRule
from orchestrator.search.query_hits import Queries
from orchestrator.search.study import SweepStudy


def rule_of(config: RunConfig, queries: Queries) -> PruningRule:
    """How a sweep with `config` prunes, whose trials are judged by `queries`."""
    return PruningRule(
        config.sweep.pruner,
        config.training.reduction_factor,
        min_trials=config.sweep.pruner_min_trials,
        standard_errors=config.sweep.paired_standard_errors,
        queries=queries,
    )


class Pruning:
    """Decides which trials go on after a rung; the rung's value is in the study before."""

    def __init__(self, study: SweepStudy, account: SweepAccount, rule: PruningRule) -> None:
        self._study = study
        self._account = account
        self._rule = rule

    def report(self, number: int, epoch: int, value: float, hits: Mapping[str, bool]) -> None:
        """Store the value of trial `number` after `epoch` epochs, and which queries it hit there
        (by key) where the rule compares them.
        """
        self._study.report(number, epoch, value, self._rule.queries.note(hits))

    def decide(self, number: int, epoch: int, last_epoch: int) -> PruningDecision:
        """The decision on trial `number`, which waits for it after `epoch` of `last_epoch` epochs.

        A trial that the rule lets go on is pruned when the budget does not hold its way to the
        next rung.
        """
        decision = self._study.decide(number, epoch, self._rule, is_last_rung=epoch >= last_epoch)
        if not decision.go_on:
            return decision
        return self.decide_by_budget(number, epoch) or decision

    def decide_late(
        self, number: int, epoch: int, last_epoch: int, submitted: Iterable[int]
    ) -> PruningDecision:
        """The rule's decision on trial `number`, which trained on while `epoch` was evaluated.

        `submitted` are the epochs of all its rungs so far.
        """
        return self._study.decide_late(
            number, epoch, self._rule, last_epoch=last_epoch, submitted=submitted
        )

    def decide_overtaken(
        self, epoch: int, last_epochs: Mapping[int, int]
    ) -> dict[int, PruningDecision]:
        """The running trials that are pruned at `epoch` after all, now that a value came there.

        `last_epochs` are the trials that are training, each with its number of epochs.
        """
        return self._study.decide_overtaken(epoch, last_epochs, self._rule)

    def decide_by_budget(self, number: int, epoch: int) -> PruningDecision | None:
        """The decision to prune trial `number` after `epoch` epochs because the way to its next
        rung costs more than the budget holds; None: it is covered.
        """
        reason = self._account.prune_for_budget(number, epoch)
        if not reason:
            return None
        decision = PruningDecision(False, f"rung {epoch}: {reason}")
        self._study.set_decision(number, epoch, decision)
        return decision
