"""An extension: a trial that goes on where another one ended, up to a larger number of epochs.

It is a trial of its own, with the values of the one that it continues: what has ended stays as it
is in the study. A person asked for it, so it comes on top of the sweep's trials, no pruner ends it,
and nothing is compared with it: it was trained for longer than the others.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from optuna.trial import FrozenTrial

from orchestrator.trial_state import TrialState

EXTENSION = "extension"  # the note of a trial with its `Extension`
NUM_EPOCHS = "training.num_epochs"


@dataclass(frozen=True)
class Extension:
    """A trial continues `trial`, which has `trained_epochs` finished epochs, to `num_epochs`."""

    trial: int
    trained_epochs: int
    num_epochs: int

    def note(self) -> str:
        """What `extension_of` reads."""
        return json.dumps(asdict(self))

    def values(self) -> dict[str, Any]:
        """The values by path that such a trial has beside those of the trial that it continues."""
        return {NUM_EPOCHS: self.num_epochs}


def extension_of(trial: FrozenTrial) -> Extension | None:
    """How `trial` continues another one; None where it does not."""
    note = trial.user_attrs.get(EXTENSION)
    return None if note is None else Extension(**json.loads(note))


def continuing(trials: Iterable[FrozenTrial], number: int, num_epochs: int) -> int | None:
    """The one of `trials` that continues trial `number` to `num_epochs`, and has not failed."""
    for trial in trials:
        found = extension_of(trial)
        is_same = found is not None and (found.trial, found.num_epochs) == (number, num_epochs)
        if is_same and trial.state.name != "FAIL":
            return trial.number
    return None


def num_extending(trials: Iterable[FrozenTrial]) -> int:
    """How many of `trials` are extensions that have not ended."""
    return sum(EXTENSION in one.user_attrs and not one.state.is_finished() for one in trials)


def comparable_scores(
    trials: Iterable[FrozenTrial], number: int | None = None
) -> dict[int, dict[int, float]]:
    """Trial number -> epoch -> value of `trials` without extensions; that of trial `number` is
    there in any case.
    """
    return {
        trial.number: trial.intermediate_values
        for trial in trials
        if trial.number == number or EXTENSION not in trial.user_attrs
    }


def refused_extension(
    number: int,
    num_epochs: int,
    *,
    num_trials: int,
    state: TrialState | None,
    trained_epochs: int | None,
) -> str:
    """Why trial `number` of `num_trials` cannot be continued to `num_epochs`; empty where it can.

    `state` is None where there is no such trial, `trained_epochs` where it has no checkpoint.
    """
    if state is None:
        return f"there is no trial {number}; there are {num_trials}"
    if not state.is_over:
        return f"trial {number} is {state}: it can be extended when it has ended"
    if trained_epochs is None:
        return f"trial {number} has no checkpoint to go on from: it is {state}"
    if num_epochs <= trained_epochs:
        return (
            f"trial {number} is trained for {trained_epochs} epochs already; name more than that, "
            f"not {num_epochs}"
        )
    return ""
