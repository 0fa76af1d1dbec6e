"""The parts of a sweep's end, each of which may fail alone and is made up by a later start.

Confirmation, baselines, encoder, recognition, registration, test part, showcases and report do not
depend on one another's success. What a part found is kept as a note of the sweep, so that nothing
is measured twice; why a part failed is said, and stands in the last lines.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, TypeVar

import ray

from orchestrator.journal.journal_writer import Fenced
from orchestrator.journal.lease import LeaseLost
from orchestrator.ray_cluster.composed_actor import PartHandle
from orchestrator.trial.driver import failure_reason

Result = TypeVar("Result")
NOTE = "end/"  # + the part's name: the note of the sweep with what was found, as JSON


class EndParts:
    """The parts that were tried in this process, and what earlier ones found."""

    def __init__(self, recorder: PartHandle, say: Callable[[str], None]) -> None:
        """`recorder` is the coordinator's, which keeps the notes; `say` tells a person a line."""
        self._recorder = recorder
        self._say = say
        self.missing: dict[str, str] = {}

    def found(self, name: str) -> Any:
        """What an earlier start found as part `name`; None: nothing yet."""
        note = ray.get(self._recorder.note.remote(f"{NOTE}{name}"))
        return None if note is None else json.loads(note)

    def keep(self, name: str, found: Any) -> None:
        """Keep what was found as part `name`; a JSON value."""
        ray.get(self._recorder.note.remote(f"{NOTE}{name}", json.dumps(found)))

    def attempt(self, title: str, make: Callable[[], Result], otherwise: Result) -> Result:
        """The result of `make`, or `otherwise` where it fails, which is said and remembered in
        `missing` under `title`.

        Raises what ends the whole sweep: another driver has taken over.
        """
        try:
            return make()
        except (Fenced, LeaseLost):
            raise
        # days of training end well whatever one of the last steps runs into; the person is told
        except Exception as error:  # noqa: BLE001
            reason = failure_reason(error)
            self.missing[title] = reason
            self._say(f"the sweep goes on without {title}: {reason}")
            return otherwise

    def once(
        self,
        name: str,
        title: str,
        start: Callable[[], Callable[[], Any]],
        otherwise: Any,
        is_there: Callable[[], bool] = lambda: True,
    ) -> Callable[[], Any]:
        """Start part `name` unless it was found before; a function that waits for the result.

        `start` returns a function that waits for what it started; what that returns is kept.
        `is_there` says whether what was found before still is.
        """
        found = self.found(name)
        if found is not None and self.attempt(title, is_there, False):
            return lambda: found
        wait = self.attempt(title, start, None)
        if wait is None:
            return lambda: otherwise

        def collect() -> Any:
            result = self.attempt(title, wait, None)
            if result is None:
                return otherwise
            self.keep(name, result)
            return result

        return collect
