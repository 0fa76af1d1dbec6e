"""The study of a sweep: ask, report, decide and tell over one Optuna study.

Its database is the truth about a sweep; Ray Tune's state is disposable. A trial is RUNNING from
`ask` until it is told. Which driver has it is a note of the trial (`hand_out.py`): those of a
driver that died are handed out again by the next `ask` under the same number, those of the present
one are alive, so that no trial is lost or run twice. A pruned trial is told
PRUNED with the value of its last rung, a trial that went NaN or crashed is told FAIL with its
reason, and a combination that cannot be trained on this corpus is told PRUNED at once.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from orchestrator.search.database import open_database
from orchestrator.search.decided_trials import DecidedTrials
from orchestrator.search.dimensions import config_values
from orchestrator.search.extension import EXTENSION, Extension
from orchestrator.search.hand_out import NOT_HANDED_OUT, HandOut
from orchestrator.search.handed_out_trials import VALUES
from orchestrator.search.mirrored_storage import MirroredStorage
from orchestrator.search.query_hits import HITS
from orchestrator.search.samplers import make_sampler
from orchestrator.search.samplers.design import MAX_UNFIT_IN_A_ROW
from orchestrator.search.samplers.optuna_sampler import ProposedValues
from orchestrator.search.samplers.sampler import TRAINING_SECONDS, Fits, History, Sampler
from orchestrator.search.space import Space
from orchestrator.search.warm_start import WarmStart, add_to_study
from prp_core.errors import UserError

REQUEST = "request"  # the note of a trial that a person asked for: the id of the request
MAX_REPEATS_IN_A_ROW = 20


@dataclass(frozen=True)
class Proposal:
    """A trial to run: its number and the config's `values` by path.

    `is_resumed`: it ran before and goes on. `sampled` are the space's draws by name, `hand_out`
    says to whom it is handed.
    """

    number: int
    values: dict[str, Any]
    is_resumed: bool
    sampled: dict[str, Any] = field(default_factory=dict)
    hand_out: HandOut = NOT_HANDED_OUT


class SweepStudy(DecidedTrials):
    """Ask and tell over one study, by one process at a time (the coordinator)."""

    def __init__(
        self,
        storage: str | optuna.storages.BaseStorage | None,
        sweep_id: str,
        space: Space,
        *,
        seed: int,
        num_startup_trials: int,
        sampler: str | Sampler | optuna.samplers.BaseSampler = "gp",
        driver: str = "",
    ) -> None:
        """Open or create it in `storage`: the URL of a database, or what `open_study_storage`
        opened; None: in memory alone, for a replay.

        `driver` names the sweep's driver. Opened again for the same one, the study is in the same
        epoch, in which the trials that it handed out are alive; for another one (empty: one that
        nobody else is) the next epoch begins.

        `sampler` is a name in `SAMPLERS`, which draws by `seed` after a design of
        `num_startup_trials`, or a sampler itself: ours or any of Optuna's, with its own seed and
        its own first trials.
        """
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._sampler = make_sampler(sampler, seed=seed, num_startup=num_startup_trials)
        self._proposed = ProposedValues(self._sampler)
        database = open_database(storage) if isinstance(storage, str) else storage
        self._storage = (
            optuna.storages.InMemoryStorage() if database is None else MirroredStorage(database)
        )
        self._study = optuna.create_study(
            storage=self._storage,
            study_name=sweep_id,
            direction="maximize",
            sampler=self._proposed,
            pruner=optuna.pruners.NopPruner(),
            load_if_exists=True,
        )
        self._space = space
        self.num_at_opening = len(self.trials())
        self.is_reopened, self.epoch = self.enter(driver or secrets.token_hex(8))

    def trials(self) -> list[FrozenTrial]:
        """Every trial by number, as the database has it; read from memory."""
        return self._study.get_trials(deepcopy=False)

    def num_told(self) -> int:
        """How many trials count towards the sweep's number: finished, pruned at a rung or failed;
        not those that never fitted or ran elsewhere, and no extensions.
        """
        not_counted = {"unfit", "warm", EXTENSION}
        return sum(
            trial.state.is_finished() and not not_counted & trial.user_attrs.keys()
            for trial in self.trials()
        )

    def warm_up(self, warm: WarmStart) -> None:
        """Take in what earlier sweeps found; see `warm_start.py`."""
        add_to_study(self._study, warm)

    def ask(self, fits: Fits, slot: str = "") -> Proposal:
        """The next trial to run, handed out to `slot` (empty: one that nobody else has): one that
        nobody runs any more, else a new one that `fits`. A slot that asks again gets the same.

        Raises `UserError` when nothing that the space suggests fits this corpus.
        """
        slot = slot or secrets.token_hex(8)
        number = self.trial_of(slot)
        if number is None:
            number = next(self.free(), None)
            proposal = self._new(fits) if number is None else self._adopt(number, fits)
            hand_out = self.hand_out(proposal.number).to(self.epoch, slot)
            self.set_hand_out(proposal.number, hand_out)
        else:
            proposal = self._adopt(number, fits)
        return replace(proposal, hand_out=self.hand_out(proposal.number))

    def is_chosen(self, slot: str) -> bool:
        """Whether `ask` by `slot` need not choose: a trial waits for somebody who runs it."""
        return self.trial_of(slot) is not None or next(self.free(), None) is not None

    def choose(self, fits: Fits) -> None:
        """Choose a new trial, which the next `ask` hands out; raises as `ask`. It may run in a
        thread of its own while everything else goes on, `ask` excepted.
        """
        self._new(fits)

    def drop_unstarted(self) -> None:
        """Take out the trials that were chosen and never handed out: they never began."""
        for number in list(self.free()):
            if self.hand_out(number) == NOT_HANDED_OUT:
                self.set_note(number, "unfit", "it was chosen, but never started")
                self._tell(number, TrialState.FAIL)

    def _new(self, fits: Fits) -> Proposal:
        """A trial with values that fit and that no other had."""
        last_reason = ""
        for attempt in range(MAX_UNFIT_IN_A_ROW):
            trial = self._study.ask()
            self._draw(trial, fits)
            fit = fits(trial.params)
            if fit.ok and (
                attempt >= MAX_REPEATS_IN_A_ROW
                or REQUEST in trial.user_attrs
                or not self._was_tried(trial.number, trial.params)
            ):
                return self._proposal(trial, is_resumed=False)
            last_reason = fit.reason or "these values were tried before"
            trial.set_user_attr("unfit", last_reason)
            # The sampler learns from a pruned trial that its values are bad; from a failed one (a
            # mere repeat) it learns nothing.
            self._study.tell(trial, state=TrialState.FAIL if fit.ok else TrialState.PRUNED)
        raise UserError(
            "Nothing that the search space suggests can be trained here; the last "
            f"reason: {last_reason}"
        )

    def enqueue(
        self, values: Mapping[str, Any], request: str, extension: Extension | None = None
    ) -> int:
        """Let the next new trial have `values` by name, because `request` (an id) asks for it; once
        for each request. The trial's number.
        """
        if self.enqueued(request) is None:
            note = {EXTENSION: extension.note()} if extension else {}
            self._study.enqueue_trial(dict(values), user_attrs={REQUEST: request, **note})
        number = self.enqueued(request)
        assert number is not None, request
        return number

    def enqueued(self, request: str) -> int | None:
        """The number of the trial that was enqueued for `request`; None: it was not."""
        asked = (one.number for one in self.trials() if one.user_attrs.get(REQUEST) == request)
        return next(asked, None)

    def report(self, number: int, epoch: int, value: float, hits: str = "") -> None:
        """Store the score of trial `number` at the rung after `epoch` epochs, and its `hits` there
        (`Queries.note`; empty: none); only the first report counts.
        """
        frozen = self.trials()[number]
        if frozen.state == TrialState.RUNNING and epoch not in frozen.intermediate_values:
            if hits:  # first: with the score the report is whole
                self.set_note(number, f"{HITS}{epoch}", hits)
            self._storage.set_trial_intermediate_value(self._id_of(number), epoch, value)

    def scores(self) -> dict[int, dict[int, float]]:
        """Trial number -> epoch -> value, of every rung that was reported."""
        return {trial.number: trial.intermediate_values for trial in self.trials()}

    def notes(self, number: int) -> dict[str, Any]:
        """The notes kept with trial `number`."""
        return dict(self.trials()[number].user_attrs)

    def tell_finished(self, number: int, value: float) -> None:
        """Trial `number` ran to its end with `value`."""
        self._tell(number, TrialState.COMPLETE, value=value)

    def tell_pruned(self, number: int, reason: str) -> None:
        """Trial `number` was pruned at its last reported rung."""
        self._tell(number, TrialState.PRUNED, reason=reason)

    def tell_failed(self, number: int, reason: str) -> None:
        """Trial `number` failed; `reason` names the cause."""
        self._tell(number, TrialState.FAIL, reason=reason)

    def set_training_seconds(self, number: int, seconds: float) -> None:
        """Note how long the whole training of trial `number` takes, by its pace so far: the sampler
        expects more of values that train longer.
        """
        self.set_note(number, TRAINING_SECONDS, seconds)

    def set_note(self, number: int, name: str, value: str | float) -> None:
        """A note kept with the trial in the database; what has ended takes no more notes."""
        if not self.trials()[number].state.is_finished():
            self._storage.set_trial_user_attr(self._id_of(number), name, value)

    def set_sweep_note(self, name: str, value: str) -> None:
        """A note kept with the sweep in the database."""
        self._study.set_user_attr(name, value)

    def sweep_note(self, name: str) -> str | None:
        """The sweep's note called `name`, None where there is none."""
        return self._study.user_attrs.get(name)

    def sweep_notes(self, prefix: str) -> dict[str, str]:
        """The sweep's notes whose names start with `prefix`."""
        return {
            name: value for name, value in self._study.user_attrs.items() if name.startswith(prefix)
        }

    def _tell(
        self, number: int, state: TrialState, *, value: float | None = None, reason: str = ""
    ) -> None:
        if self.trials()[number].state.is_finished():
            return
        if reason:
            self.set_note(number, "reason", reason)
        self._study.tell(number, value, state=state)

    def _draw(self, trial: optuna.trial.Trial, fits: Fits) -> None:
        """Give `trial` the values that the sampler proposes, where it has none yet."""
        trials = self.trials()
        fixed = trials[trial.number].system_attrs.get("fixed_params", {})
        history = History(
            space=self._space,
            number=trial.number,
            trials=[
                one
                for one in trials
                if one.number != trial.number and EXTENSION not in one.user_attrs
            ],
            study=self._study,
            fixed={**fixed, **trial.params},
        )
        self._proposed.values = self._sampler.propose(history, fits)
        self._space(trial)

    def _adopt(self, number: int, fits: Fits) -> Proposal:
        """Take up a trial that is RUNNING, and draw what it lacks."""
        is_resumed = self.hand_out(number).attempt > 0
        stored = self.trials()[number].user_attrs.get(VALUES)
        if stored is not None:
            return Proposal(
                number,
                json.loads(stored),
                is_resumed=is_resumed,
                sampled=dict(self.trials()[number].params),
            )
        trial = optuna.trial.Trial(self._study, self._id_of(number))
        self._draw(trial, fits)
        return self._proposal(trial, is_resumed=is_resumed)

    def _proposal(self, trial: optuna.trial.Trial, *, is_resumed: bool) -> Proposal:
        values = config_values(trial.params)
        if extension := self.extension(trial.number):  # whatever its space draws by its number
            notes = self.trials()[extension.trial].user_attrs
            values = json.loads(notes[VALUES]) | extension.values()
        trial.set_user_attr(VALUES, json.dumps(values))
        return Proposal(trial.number, values, is_resumed, dict(trial.params))

    def _id_of(self, number: int) -> int:
        return self._storage.get_trial_id_from_study_id_trial_number(self._study._study_id, number)

    def _was_tried(self, number: int, values: Mapping[str, Any]) -> bool:
        return any(
            trial.number != number
            and "unfit" not in trial.user_attrs
            and trial.params == dict(values)
            for trial in self.trials()
        )
