"""Optuna's storage in a database, for sweeps whose study is not in their journal; with retries.

A database server may be restarted while a sweep runs. Connections are tested before they are used,
and what failed is tried again for `PATIENCE_SECONDS`. Whether a write that failed was committed is
not known, so each is made such that a second try changes nothing: there is one writer.
"""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable, Container, Sequence
from typing import Any, TypeVar

from optuna.distributions import BaseDistribution
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.storages import BaseStorage, RDBStorage
from optuna.study import StudyDirection
from optuna.study._frozen import FrozenStudy
from optuna.trial import FrozenTrial, TrialState

from orchestrator.config.redaction import redacted, refuse_password
from prp_core.errors import PrpError, UserError

logger = logging.getLogger(__name__)

PATIENCE_SECONDS = 120.0
PAUSE_SECONDS = 1.0
CHECK_SECONDS = 1.0  # how old the answer may be that no other driver has taken the sweep over
POSTGRESQL = "postgresql://"
WITH_PSYCOPG = "postgresql+psycopg://"

OF_CONNECTION = ("OperationalError", "InterfaceError")  # the drivers' and SQLAlchemy's

T = TypeVar("T")


class DatabaseUnavailable(PrpError):
    """The database did not answer for `PATIENCE_SECONDS`."""


def open_database(url: str, check: Callable[[], None] = lambda: None) -> RetryingDatabase:
    """The database at `url`, whose tables are made where there are none.

    `check` is called before a write, at most every `CHECK_SECONDS`; it raises where another driver
    has taken the sweep over. Raises `UserError`, in one line, for one that cannot be opened and for
    a URL that holds a password.
    """
    refuse_password("The database of trials", url)
    try:
        return RetryingDatabase(url, _connect(url), check)
    # whatever a database driver raises, the user reads one line
    except Exception as error:  # noqa: BLE001
        raise UserError(
            f"The database of trials {redacted(url)!r} cannot be opened: {reason_of(error)}"
        ) from None


def reason_of(error: BaseException) -> str:
    """What a database driver complains of, in one line and without a password."""
    cause = error.__cause__ if isinstance(error, StorageInternalError) else error
    first = (str(cause).splitlines() or [""])[0]
    return f"{type(cause).__name__}: {redacted(first)}"


def _connect(url: str) -> RDBStorage:
    if url.startswith(POSTGRESQL):  # SQLAlchemy's default is another driver than the one we pin
        url = WITH_PSYCOPG + url.removeprefix(POSTGRESQL)
    return RDBStorage(url, engine_kwargs={"pool_pre_ping": True})


class RetryingDatabase(BaseStorage):
    """An `RDBStorage` with one writer, whose server may go away and come back."""

    def __init__(
        self,
        url: str,
        database: RDBStorage,
        check: Callable[[], None] = lambda: None,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._url = url
        self._database = database
        self._check = check
        self._clock = clock
        self._sleep = sleep
        self._checked_at = float("-inf")
        self._num_trials: dict[int, int] = {}  # of a study: those that it had or that we made

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_check"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._check = lambda: None

    def _read(self, function: Callable[..., T], *arguments: Any, **options: Any) -> T:
        return self._tried(function, *arguments, **options)

    def _write(self, function: Callable[..., T], *arguments: Any, **options: Any) -> T:
        now = self._clock()
        if now - self._checked_at > CHECK_SECONDS:
            self._check()
            self._checked_at = now
        return self._tried(function, *arguments, **options)

    def _tried(
        self,
        function: Callable[..., T],
        *arguments: Any,
        when_done: Callable[[], T] | None = None,
        **options: Any,
    ) -> T:
        """`function`, again while the server is away. `when_done` gives its value where an earlier
        try has done already what it is to do.
        """
        deadline = self._clock() + PATIENCE_SECONDS
        is_again = False
        while True:
            try:
                return function(*arguments, **options)
            except UpdateFinishedTrialError:
                if not is_again or when_done is None:
                    raise
                return when_done()
            # Optuna passes some errors of the driver on as they are; all but those go on from here
            except Exception as error:
                if not _is_away(error):
                    raise
                if self._clock() > deadline:
                    raise DatabaseUnavailable(
                        f"The database of trials {redacted(self._url)!r} did not answer "
                        f"for {PATIENCE_SECONDS:.0f} s: {reason_of(error)}"
                    ) from None
                logger.warning("The database of trials: %s; trying again", reason_of(error))
                is_again = True
                self._sleep(PAUSE_SECONDS)

    # ---- studies

    def create_new_study(
        self, directions: Sequence[StudyDirection], study_name: str | None = None
    ) -> int:
        return self._write(self._database.create_new_study, directions, study_name)

    def delete_study(self, study_id: int) -> None:
        self._num_trials.pop(study_id, None)
        self._write(self._database.delete_study, study_id)

    def set_study_user_attr(self, study_id: int, key: str, value: Any) -> None:
        self._write(self._database.set_study_user_attr, study_id, key, value)

    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:
        self._write(self._database.set_study_system_attr, study_id, key, value)

    def get_study_id_from_name(self, study_name: str) -> int:
        return self._read(self._database.get_study_id_from_name, study_name)

    def get_study_name_from_id(self, study_id: int) -> str:
        return self._read(self._database.get_study_name_from_id, study_id)

    def get_study_directions(self, study_id: int) -> list[StudyDirection]:
        return self._read(self._database.get_study_directions, study_id)

    def get_study_user_attrs(self, study_id: int) -> dict[str, Any]:
        return self._read(self._database.get_study_user_attrs, study_id)

    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        return self._read(self._database.get_study_system_attrs, study_id)

    def get_all_studies(self) -> list[FrozenStudy]:
        return self._read(self._database.get_all_studies)

    # ---- trials

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        """The trial that follows the last one; where an earlier try has made it, that one."""
        if study_id not in self._num_trials:
            self._num_trials[study_id] = self._read(self._database.get_n_trials, study_id)
        number = self._num_trials[study_id]

        def make() -> int:
            if self._database.get_n_trials(study_id) == number:
                self._database.create_new_trial(study_id, template_trial)
            return self._database.get_trial_id_from_study_id_trial_number(study_id, number)

        trial_id = self._write(make)
        self._num_trials[study_id] = number + 1
        return trial_id

    def set_trial_param(
        self,
        trial_id: int,
        param_name: str,
        param_value_internal: float,
        distribution: BaseDistribution,
    ) -> None:
        self._write(
            self._database.set_trial_param, trial_id, param_name, param_value_internal, distribution
        )

    def set_trial_state_values(
        self, trial_id: int, state: TrialState, values: Sequence[float] | None = None
    ) -> bool:
        def is_done() -> bool:
            return self._read(self._database.get_trial, trial_id).state == state

        tries = itertools.count()

        def change() -> bool:
            is_again = next(tries) > 0
            is_changed = self._database.set_trial_state_values(trial_id, state, values)
            return is_changed or (is_again and is_done())

        return self._write(change, when_done=is_done)

    def set_trial_intermediate_value(
        self, trial_id: int, step: int, intermediate_value: float
    ) -> None:
        self._write(self._database.set_trial_intermediate_value, trial_id, step, intermediate_value)

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        self._write(self._database.set_trial_user_attr, trial_id, key, value)

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        self._write(self._database.set_trial_system_attr, trial_id, key, value)

    def get_trial_id_from_study_id_trial_number(self, study_id: int, trial_number: int) -> int:
        return self._read(
            self._database.get_trial_id_from_study_id_trial_number, study_id, trial_number
        )

    def get_trial(self, trial_id: int) -> FrozenTrial:
        return self._read(self._database.get_trial, trial_id)

    def get_all_trials(
        self,
        study_id: int,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
    ) -> list[FrozenTrial]:
        return self._read(self._database.get_all_trials, study_id, deepcopy, states)

    def remove_session(self) -> None:
        self._database.remove_session()


def _is_away(error: Exception) -> bool:
    """Whether the server is what is wrong, and not what was written: an error of the connection,
    which Optuna or SQLAlchemy may have wrapped or stumbled over.
    """
    cause: BaseException | None = error
    while cause is not None:
        if type(cause).__name__ in OF_CONNECTION or getattr(cause, "connection_invalidated", False):
            return True
        cause = cause.__cause__ or cause.__context__
    return False
