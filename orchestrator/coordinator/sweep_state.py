"""The state of a sweep that the coordinator's desks share, and what the driver opens it from."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cluster.prices import Price
from orchestrator.config.run_config import RunConfig, parse_config
from orchestrator.config.sweep_spec import SweepSpec
from orchestrator.coordinator.recorder import Recorder
from orchestrator.coordinator.trial_table import TrialTable
from orchestrator.cost.account import SweepAccount, trial_owner
from orchestrator.journal.journal_writer import JournalWriter
from orchestrator.journal.stored_sweep import open_journal
from orchestrator.ray_cluster.concurrency import EVALUATED_BY_WORKERS, EvaluationPlan
from orchestrator.search.database import open_database
from orchestrator.search.journal_backend import open_study_storage
from orchestrator.search.query_hits import NO_QUERIES, Queries
from orchestrator.search.samplers import startup_trials
from orchestrator.search.space import Space, TrialLimits
from orchestrator.search.study import SweepStudy
from orchestrator.search.warm_start import NOTHING_KNOWN, WarmStart
from orchestrator.trial_state import TrialState

if TYPE_CHECKING:
    from orchestrator.search.samplers import GivenSampler


@dataclass(frozen=True, kw_only=True)
class CoordinatorSetup:
    """What the driver hands to the coordinator; crosses processes.

    `limits` is what a trial has to fit, `evaluation` where new trials' rungs are evaluated, `warm`
    what earlier sweeps found, `price` what a GPU and a CPU cost (None: unknown). `sampler` is the
    study's own (None: the one that ``sweep.sampler`` names). `queries` are what trials are judged
    by, where the pruner compares them query by query. `driver` names the sweep's driver: the same
    for every start of its coordinator, and of no other driver.
    """

    spec: SweepSpec
    space: Space
    limits: TrialLimits
    evaluation: EvaluationPlan = EVALUATED_BY_WORKERS
    warm: WarmStart = NOTHING_KNOWN
    price: Price | None = None
    sampler: GivenSampler | None = None
    queries: Queries = NO_QUERIES
    driver: str = field(default_factory=lambda: secrets.token_hex(8))


@dataclass(frozen=True, kw_only=True)
class SweepState:
    """One sweep: `study` holds what was decided, `account` what was spent, `recorder` writes what
    is shown in MLflow, and `table` has every trial in memory. `journal` is where study and account
    keep what they hold.
    """

    spec: SweepSpec
    base: RunConfig
    journal: JournalWriter
    study: SweepStudy
    table: TrialTable
    account: SweepAccount
    recorder: Recorder

    @classmethod
    def open(cls, setup: CoordinatorSetup) -> SweepState:
        """The state as an earlier coordinator left it; new where there was none.

        Raises `UserError` for a database that cannot serve and for a tracking URI that is none,
        `Fenced` when a later driver has taken the sweep over. Waits for no MLflow.
        """
        spec = setup.spec
        base = parse_config(spec.config)
        journal = open_journal(spec)
        study = _open_study(setup, base, journal)
        table = TrialTable(study, base)
        account = SweepAccount(journal, base, setup.price, table.config_of)
        for view in table.views():
            if extension := study.extension(view.number):
                account.begins_at(view.number, extension.trained_epochs)
            account.reached(view.number, max(view.rungs, default=0))
        alive = study.handed_out()
        for view in table.in_state(TrialState.RUNNING):
            if view.number in alive:
                account.on_recovered(trial_owner(view.number))
        recorder = Recorder(spec, base, study, table, account)
        return cls(
            spec=spec,
            base=base,
            journal=journal,
            study=study,
            table=table,
            account=account,
            recorder=recorder,
        )


def _open_study(setup: CoordinatorSetup, base: RunConfig, journal: JournalWriter) -> SweepStudy:
    sweep = base.sweep
    url = setup.spec.database_url
    study = SweepStudy(
        open_database(url, journal.check) if url else open_study_storage(journal),
        setup.spec.sweep_id,
        setup.space,
        seed=base.seed,
        num_startup_trials=0
        if setup.sampler is not None
        else startup_trials(sweep.num_startup_trials, sweep.sampler, sweep.num_trials),
        sampler=setup.sampler or sweep.sampler,
        driver=setup.driver,
    )
    study.warm_up(setup.warm)
    return study
