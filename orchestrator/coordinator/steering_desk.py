"""The steering desk: does what people asked of the running sweep, and answers them in the journal.

A thread looks for requests, and for what the storage has to say to them, so that no decision waits
for the storage; the driver calls `advance`
every second, and what was found is done then. A request and its answer are one entry of the
journal, and each action is harmless when it is done twice: a coordinator that dies in between finds
the request again.
"""

from __future__ import annotations

import json
import logging
import queue
import threading
import time
from collections.abc import Callable

from orchestrator.config.typed_command import prp
from orchestrator.coordinator.steering_notes import PAUSED, STOPPED, TRIAL_STOPPED, TRIALS_OVER
from orchestrator.coordinator.sweep_state import CoordinatorSetup, SweepState
from orchestrator.journal.requests import Action, BadRequest, Request, RequestDesk
from orchestrator.journal.stored_sweep import open_folder
from orchestrator.search.extension import Extension, continuing, refused_extension
from orchestrator.search.space import apply_space
from orchestrator.search.space_record import refused_values
from orchestrator.trial_state import TrialState
from prp_core.data.object_store import ObjectStore
from prp_core.errors import PrpError, UserError
from prp_core.training.checkpoint_record import trained_epochs

_LOGGER = logging.getLogger(__name__)
LOOK_SECONDS = 1.5


class SteeringDesk:
    """Serves the driver, which passes a stop of the sweep on to itself."""

    def __init__(
        self,
        state: SweepState,
        setup: CoordinatorSetup,
        num_left: Callable[[], int],
        *,
        store: ObjectStore | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`num_left` says how many trials are still to be started; `store` is the sweep's folder
        (None: opened by the spec), `now` the time in seconds since 1970.
        """
        self._spec = state.spec
        self._base = state.base
        self._journal = state.journal
        self._study = state.study
        self._table = state.table
        self._limits = setup.limits
        self._num_left = num_left
        self._now = now
        self._store = store or open_folder(state.spec, check=False).store
        self._desk = RequestDesk(self._store, state.journal)
        self._inbox: queue.SimpleQueue[Request | BadRequest] = queue.SimpleQueue()
        self._looks = threading.Lock()
        self._taken: set[str] = set()
        self._trained: dict[
            str, int | None
        ] = {}  # request -> the epochs of the trial that it names
        self._do: dict[Action, Callable[[Request], tuple[bool, str]]] = {
            Action.STOP: self._stop,
            Action.PAUSE: self._pause,
            Action.CONTINUE: self._continue,
            Action.TRY: self._try,
            Action.EXTEND: self._extend,
        }

    def start(self) -> None:
        """Look for requests from now on, in a thread."""
        threading.Thread(target=self._look_again_and_again, name="requests", daemon=True).start()

    def look(self) -> None:
        """Look for requests once. Raises what the store raises."""
        with self._looks:
            for request in self._desk.waiting():
                if request.id in self._taken:
                    continue
                if isinstance(request, Request) and request.action == Action.EXTEND:
                    folder = self._spec.checkpoints_folder(request.trial or 0)
                    self._trained[request.id] = trained_epochs(self._store, folder)
                self._taken.add(request.id)
                self._inbox.put(request)

    def advance(self) -> str:
        """Do what was asked since the last call; why the sweep stops now (empty: it goes on)."""
        while not self._inbox.empty():
            self._handle(self._inbox.get())
        stopped = json.loads(self._study.sweep_note(STOPPED) or "{}")
        return str(stopped["by"]) if stopped.get("epoch") == self._spec.epoch else ""

    def paused(self) -> str:
        """Who paused the sweep, for the screen; empty: nobody."""
        return self._study.sweep_note(PAUSED) or ""

    def take_up(self) -> None:
        """Do what was asked while nobody drove the sweep; where the storage is away, later."""
        self._try_to_look()
        self.advance()

    def close_trials(self, *, is_forced: bool) -> int:
        """How many trials are still to be started. Where none is, or `is_forced`, the driver starts
        no more from now on, which is said to those who ask for one.
        """
        num_left = self._num_left()
        if is_forced or not num_left:
            self._study.set_sweep_note(TRIALS_OVER, str(self._spec.epoch))
        return num_left

    def _look_again_and_again(self) -> None:
        while True:
            self._try_to_look()
            time.sleep(LOOK_SECONDS)

    def _try_to_look(self) -> None:
        try:
            self.look()
        except PrpError as error:  # the storage is away: it is looked at again
            _LOGGER.warning("requests to the sweep were not read: %s", error)

    def _handle(self, request: Request | BadRequest) -> None:
        with self._journal.batch():
            if isinstance(request, BadRequest):
                is_done, text = False, request.problem
            else:
                is_done, text = self._tried(request)
            self._desk.answer(request, is_done=is_done, text=text, at=self._now())

    def _tried(self, request: Request) -> tuple[bool, str]:
        try:
            return self._do[request.action](request)
        except UserError as error:
            return False, str(error)

    # ---- the actions: whether it was done, and what to say

    def _stop(self, request: Request) -> tuple[bool, str]:
        if request.trial is None:
            note = {"by": who(request), "epoch": self._spec.epoch}
            self._study.set_sweep_note(STOPPED, json.dumps(note))
            return True, (
                f"sweep {self._spec.sweep_id} stops now and keeps what it has; --resume goes on"
            )
        number = request.trial
        view = self._table.find(number)
        if view is None:
            return False, f"there is no trial {number}; there are {len(self._table.views())}"
        if view.state != TrialState.RUNNING:
            return False, f"trial {number} has ended already: it is {view.state}"
        self._study.set_note(number, TRIAL_STOPPED, f"stopped by {who(request)}")
        return True, f"trial {number} stops at its next step and counts as pruned"

    def _pause(self, request: Request) -> tuple[bool, str]:
        self._study.set_sweep_note(PAUSED, f"paused by {who(request)}")
        running = len(self._table.in_state(TrialState.RUNNING))
        return True, (
            f"no more trials start until `{prp(f'continue {self._spec.sweep_id}')}`; "
            f"{running} running trial{'s go' if running != 1 else ' goes'} on"
        )

    def _continue(self, request: Request) -> tuple[bool, str]:
        if not self.paused():
            return True, "the sweep was not paused"
        self._study.set_sweep_note(PAUSED, "")
        return True, "trials start again"

    def _try(self, request: Request) -> tuple[bool, str]:
        values = dict(request.values)
        refused = refused_values(self._spec.space, values)
        if refused:
            return False, refused
        fit = self._limits.fits(apply_space(self._base, values))
        if not fit.ok:
            return False, f"it cannot be trained on these videos: {fit.reason}"
        if self._study.enqueued(request.id) is None and self._num_left() < 1:
            return False, (
                f"all {self._base.sweep.num_trials} trials were started; raise their number with "
                f"--resume {self._spec.sweep_id} --trials N"
            )
        self._study.enqueue(values, request.id)
        words = ", ".join(f"{name}={value}" for name, value in values.items())
        return True, f"the next trial that starts has {words}"

    def _extend(self, request: Request) -> tuple[bool, str]:
        number = request.trial or 0
        num_epochs = request.epochs or 0
        view = self._table.find(number)
        trained = self._trained.pop(request.id, None)
        refused = refused_extension(
            number,
            num_epochs,
            num_trials=len(self._table.views()),
            state=view.state if view else None,
            trained_epochs=trained,
        )
        if refused or view is None or trained is None:
            return False, refused
        same = continuing(self._study.trials(), number, num_epochs)
        if same is not None and same != self._study.enqueued(request.id):
            return False, f"trial {same} continues trial {number} to {num_epochs} epochs already"
        fit = self._limits.fits(apply_space(self._base, view.values))
        if not fit.ok:
            return False, f"it cannot be trained on these videos any more: {fit.reason}"
        params = self._study.trials()[number].params
        new = self._study.enqueue(params, request.id, Extension(number, trained, num_epochs))
        return True, (
            f"trial {new} continues trial {number} from epoch {trained} to {num_epochs}, under the "
            f"learning rates of {num_epochs} epochs from there on; {self._when_it_starts()}"
        )

    def _when_it_starts(self) -> str:
        if self._study.sweep_note(TRIALS_OVER) == str(self._spec.epoch):
            return f"the sweep is ending: it starts with the next --resume {self._spec.sweep_id}"
        return "it starts as soon as there is a place for it"


def who(request: Request) -> str:
    """Who made `request`, and when, for people."""
    when = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(request.at))
    return f"{request.by or 'somebody'}, {when}"
