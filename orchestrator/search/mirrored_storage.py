"""An Optuna storage that reads from memory: a mirror of a database with one writer.

Optuna reads every unfinished trial from its database for each question that it asks. A sweep has
one writer, the coordinator, so what it wrote is what the database holds: `MirroredStorage` reads a
study once, passes every write to the database first, and then changes its copy. What another
process writes is not seen until the study is opened anew.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Container, Sequence
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.study._frozen import FrozenStudy
from optuna.trial import FrozenTrial, TrialState

COPIED = ("params", "distributions", "intermediate_values", "user_attrs", "system_attrs")


class MirroredStorage(BaseStorage):
    """All that `backend` holds of the studies that were asked for; thread-safe.

    The trials that it hands out are snapshots: a later write replaces them.
    """

    def __init__(self, backend: BaseStorage) -> None:
        self._backend = backend
        self._lock = threading.RLock()
        self._trials: dict[int, list[FrozenTrial]] = {}
        self._places: dict[int, tuple[int, int]] = {}
        self._user_attrs: dict[int, dict[str, Any]] = {}
        self._system_attrs: dict[int, dict[str, Any]] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._lock = threading.RLock()

    # ---- studies

    def create_new_study(
        self, directions: Sequence[StudyDirection], study_name: str | None = None
    ) -> int:
        return self._backend.create_new_study(directions, study_name)

    def delete_study(self, study_id: int) -> None:
        with self._lock:
            self._backend.delete_study(study_id)
            for trial in self._trials.pop(study_id, []):
                del self._places[trial._trial_id]
            self._user_attrs.pop(study_id, None)
            self._system_attrs.pop(study_id, None)

    def set_study_user_attr(self, study_id: int, key: str, value: Any) -> None:
        with self._lock:
            self._backend.set_study_user_attr(study_id, key, value)
            self._user_attrs.pop(study_id, None)

    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:
        with self._lock:
            self._backend.set_study_system_attr(study_id, key, value)
            self._system_attrs.pop(study_id, None)

    def get_study_id_from_name(self, study_name: str) -> int:
        return self._backend.get_study_id_from_name(study_name)

    def get_study_name_from_id(self, study_id: int) -> str:
        return self._backend.get_study_name_from_id(study_id)

    def get_study_directions(self, study_id: int) -> list[StudyDirection]:
        return self._backend.get_study_directions(study_id)

    def get_study_user_attrs(self, study_id: int) -> dict[str, Any]:
        with self._lock:
            if study_id not in self._user_attrs:
                self._user_attrs[study_id] = self._backend.get_study_user_attrs(study_id)
            return dict(self._user_attrs[study_id])

    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        with self._lock:
            if study_id not in self._system_attrs:
                self._system_attrs[study_id] = self._backend.get_study_system_attrs(study_id)
            return dict(self._system_attrs[study_id])

    def get_all_studies(self) -> list[FrozenStudy]:
        return self._backend.get_all_studies()

    # ---- trials

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        with self._lock:
            trials = self._of_study(study_id)
            trial_id = self._backend.create_new_trial(study_id, template_trial)
            trial = self._backend.get_trial(trial_id)
            assert trial.number == len(trials), "another process writes to this study"
            trials.append(trial)
            self._places[trial_id] = study_id, trial.number
            return trial_id

    def set_trial_param(
        self,
        trial_id: int,
        param_name: str,
        param_value_internal: float,
        distribution: BaseDistribution,
    ) -> None:
        with self._lock:
            self._backend.set_trial_param(trial_id, param_name, param_value_internal, distribution)
            trial = self._to_change(trial_id)
            value = distribution.to_external_repr(param_value_internal)
            trial.params = {**trial.params, param_name: value}
            trial.distributions = {**trial.distributions, param_name: distribution}

    def set_trial_state_values(
        self, trial_id: int, state: TrialState, values: Sequence[float] | None = None
    ) -> bool:
        with self._lock:
            is_set = self._backend.set_trial_state_values(trial_id, state, values)
            study_id, number = self._place_of(trial_id)
            self._trials[study_id][number] = self._backend.get_trial(trial_id)  # with its times
            return is_set

    def set_trial_intermediate_value(
        self, trial_id: int, step: int, intermediate_value: float
    ) -> None:
        with self._lock:
            self._backend.set_trial_intermediate_value(trial_id, step, intermediate_value)
            trial = self._to_change(trial_id)
            trial.intermediate_values = {**trial.intermediate_values, step: intermediate_value}

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        with self._lock:
            self._backend.set_trial_user_attr(trial_id, key, value)
            trial = self._to_change(trial_id)
            trial.user_attrs = {**trial.user_attrs, key: value}

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        with self._lock:
            self._backend.set_trial_system_attr(trial_id, key, value)
            trial = self._to_change(trial_id)
            trial.system_attrs = {**trial.system_attrs, key: value}

    def get_trial_id_from_study_id_trial_number(self, study_id: int, trial_number: int) -> int:
        with self._lock:
            trials = self._of_study(study_id)
            if not 0 <= trial_number < len(trials):
                raise KeyError(f"Study {study_id} has no trial {trial_number}")
            return trials[trial_number]._trial_id

    def get_trial(self, trial_id: int) -> FrozenTrial:
        """A copy of the trial: Optuna writes into the one that it was given."""
        with self._lock:
            study_id, number = self._place_of(trial_id)
            trial = copy.copy(self._trials[study_id][number])
            for name in COPIED:
                setattr(trial, name, dict(getattr(trial, name)))
            return trial

    def get_all_trials(
        self,
        study_id: int,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
    ) -> list[FrozenTrial]:
        with self._lock:
            trials = [
                trial
                for trial in self._of_study(study_id)
                if states is None or trial.state in states
            ]
            return copy.deepcopy(trials) if deepcopy else trials

    def remove_session(self) -> None:
        self._backend.remove_session()

    # ----

    def _of_study(self, study_id: int) -> list[FrozenTrial]:
        if study_id not in self._trials:
            trials = self._backend.get_all_trials(study_id, deepcopy=False)
            self._trials[study_id] = list(trials)
            for trial in trials:
                self._places[trial._trial_id] = study_id, trial.number
        return self._trials[study_id]

    def _place_of(self, trial_id: int) -> tuple[int, int]:
        """The study and the number of a trial. Raises `KeyError` where there is none."""
        if trial_id not in self._places:
            for study in self._backend.get_all_studies():
                self._of_study(study._study_id)
        if trial_id not in self._places:
            raise KeyError(f"There is no trial with id {trial_id}")
        return self._places[trial_id]

    def _to_change(self, trial_id: int) -> FrozenTrial:
        """A copy of the trial, in its place: what was handed out stays as it is."""
        study_id, number = self._place_of(trial_id)
        trial = copy.copy(self._trials[study_id][number])
        self._trials[study_id][number] = trial
        return trial
