"""``prp stop | pause | continue | try | extend``: ask something of a sweep and print its answer.

The request goes through the sweep's storage, so it can be made from any machine that reaches it.
A running sweep answers; where none runs, an extension is left for its next start.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchestrator.commands.common_arguments import (
    add_store_arguments,
    add_sweep_argument,
    named_sweep,
)
from orchestrator.config.typed_command import prp
from prp_core.errors import UserError

if TYPE_CHECKING:
    from orchestrator.config.sweep_spec import SweepSpec
    from orchestrator.journal.requests import Answer, Request
    from prp_core.data.object_store import ObjectStore

ANSWER_SECONDS = 30.0


@dataclass(frozen=True)
class SteeringCommand:
    """The command that makes the request called `action`; see `CommandModule`."""

    action: str

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """The sweep, and what the request needs."""
        add_sweep_argument(parser)
        if self.action == "stop":
            parser.add_argument(
                "--trial", type=int, metavar="N", help="end this trial alone (default: the sweep)"
            )
        if self.action == "try":
            parser.add_argument(
                "--set",
                dest="settings",
                action="append",
                required=True,
                metavar="NAME=VALUE",
                help="a value of one of the space's dimensions; the sampler draws the others",
            )
        if self.action == "extend":
            parser.add_argument(
                "--trial",
                type=int,
                required=True,
                metavar="N",
                help="the trial, which has ended, that a new one continues from its checkpoint",
            )
            parser.add_argument(
                "--epochs",
                type=int,
                required=True,
                metavar="E",
                help="how many epochs it then has in all",
            )
        add_store_arguments(parser)

    def run(self, arguments: argparse.Namespace) -> int:
        """Ask, and print the answer; 0 where it was done, 1 where not."""
        from orchestrator.journal.process_identity import this_process
        from orchestrator.journal.requests import Action, Request

        here = this_process()
        request = Request(
            Action(self.action),
            trial=getattr(arguments, "trial", None),
            values=parse_values(getattr(arguments, "settings", ())),
            epochs=getattr(arguments, "epochs", None),
            by=f"{here.user}@{here.host}",
        )
        answer = ask(named_sweep(arguments), request)
        print(answer.text)
        return 0 if answer.is_done else 1


def parse_values(settings: Sequence[str]) -> dict[str, Any]:
    """``NAME=VALUE`` by name: a number, true or false as JSON has them, anything else as text.

    Raises `UserError` for a word without ``=`` and for a name that is given twice.
    """
    values: dict[str, Any] = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        name = name.strip()
        if not equals or not name:
            raise UserError(f"--set {setting!r}: write NAME=VALUE, for example clip.length=16")
        if name in values:
            raise UserError(f"--set gives {name!r} twice")
        values[name] = _value(text.strip())
    return values


def _value(text: str) -> Any:
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if isinstance(value, bool | int | float) else text


def ask(spec: SweepSpec, request: Request) -> Answer:
    """The answer of the sweep of `spec` to `request`.

    Where nobody drives it, an extension is checked here and left for its next start. Raises
    `UserError` for anything else that is asked then, and where no answer came; the request is taken
    back then.
    """
    from orchestrator.journal.lease_watch import LeaseWatch
    from orchestrator.journal.requests import REQUESTS, Action, await_answer, submit
    from orchestrator.journal.stored_sweep import open_folder, read_journal

    store = open_folder(spec).store
    if LeaseWatch(store).holder() is None:
        if request.action == Action.EXTEND:
            return leave_extension(spec, store, request)
        raise UserError(
            f"Nobody drives sweep {spec.sweep_id}, so nobody would answer; "
            f"`{prp(f'status {spec.sweep_id}')}` says how to go on with it"
        )
    journal = read_journal(spec)
    sent = submit(store, request)
    answer = await_answer(journal, sent, timeout_seconds=ANSWER_SECONDS)
    if answer is None:
        store.delete(f"{REQUESTS}{sent.id}.json")
        answer = await_answer(journal, sent, timeout_seconds=0)  # it came at the last moment
    if answer is None:
        raise UserError(
            f"Sweep {spec.sweep_id} has a driver, which did not answer within "
            f"{ANSWER_SECONDS:.0f} s; the request is withdrawn. "
            f"`{prp(f'status {spec.sweep_id}')}` says how it stands"
        )
    return answer


def leave_extension(spec: SweepSpec, store: ObjectStore, request: Request) -> Answer:
    """Leave `request` for the next start of the sweep of `spec`, which nobody drives, unless it
    would be refused.
    """
    from orchestrator.journal.requests import Answer, submit
    from orchestrator.search.extension import refused_extension
    from orchestrator.search.record import read_study
    from orchestrator.sweep.status import resume_command
    from orchestrator.trial_state import TrialState
    from prp_core.training.checkpoint_record import trained_epochs

    number = request.trial or 0
    epochs = request.epochs or 0
    trials = {one.number: one for one in read_study(spec).trials if not one.unfit and one.is_drawn}
    trial = trials.get(number)
    trained = trained_epochs(store, spec.checkpoints_folder(number))
    state = None if trial is None else trial.state
    refused = refused_extension(
        number,
        epochs,
        num_trials=len(trials),
        state=TrialState.WAITING if state == TrialState.RUNNING else state,
        trained_epochs=trained,
    )
    if refused:
        return Answer("", False, refused, request.at)
    sent = submit(store, request)
    text = (
        f"nobody drives sweep {spec.sweep_id}: its next start continues trial {number} from epoch "
        f"{trained} to {epochs}: {resume_command(spec)}"
    )
    return Answer(sent.id, True, text, sent.at)
