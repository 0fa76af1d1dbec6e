"""The owner of an MLflow run outside a sweep: the process that writes it and says that it lives.

A sweep's runs are closed from its storage when its driver has died. A run of one process, such as
that of ``prp finetune``, has no storage of its own: it carries its owner as a tag, and when the
owner was alive last, so that any later process can tell a run that nobody writes any more and close
it (`dead_runs.py`).
"""

from __future__ import annotations

import json
import logging
import math
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from orchestrator.journal.process_identity import ProcessIdentity, this_process
from orchestrator.tracking.mlflow_client import first_line
from orchestrator.tracking.tags import REASON_TAG
from prp_core.documents import parse_json_object, record_from

_LOGGER = logging.getLogger(__name__)

OWNER_TAG = "prp.owner"  # the process that writes the run, as JSON
ALIVE_TAG = "prp.owner_alive"  # when it said so last, by its own clock: seconds since 1970
RENEW_SECONDS = 5.0


@dataclass(frozen=True)
class Owner:
    """The owner of a run, and when it was alive last, by its own clock."""

    process: ProcessIdentity
    alive: float


def owner_tags() -> dict[str, str]:
    """The tags of a run that this process writes now; why it was closed before is over."""
    return {
        OWNER_TAG: json.dumps(asdict(this_process())),
        ALIVE_TAG: f"{time.time():.3f}",
        REASON_TAG: "",
    }


def owner_of(tags: Mapping[str, str]) -> Owner | None:
    """The owner that the `tags` of a run name; None where they name none that can be read."""
    try:
        process = record_from(ProcessIdentity, parse_json_object(tags[OWNER_TAG].encode()))
        alive = float(tags[ALIVE_TAG])
    except (KeyError, ValueError):
        return None
    return Owner(process, alive) if math.isfinite(alive) else None


class Heartbeat:
    """A thread that renews this process's tags on the run `run_id`, which is RUNNING meanwhile: who
    took a process that was stopped or cut off for dead is put right.
    """

    def __init__(self, client: Any, run_id: str, seconds: float = RENEW_SECONDS) -> None:
        self._client = client
        self._run_id = run_id
        self._seconds = seconds
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._keep_beating, name="heartbeat", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Renew nothing any more; returns when no request is under way."""
        self._stop.set()
        self._thread.join()

    def beat(self) -> None:
        """Renew the tags now. Raises what MLflow raises."""
        from mlflow.entities import RunTag

        tags = [RunTag(*item) for item in owner_tags().items()]
        self._client.log_batch(self._run_id, tags=tags, synchronous=True)
        self._client.update_run(self._run_id, status="RUNNING")

    def _keep_beating(self) -> None:
        while not self._stop.wait(self._seconds):
            try:
                self.beat()
            # MLflow is away, or refuses: the next beat tells
            except Exception as error:  # noqa: BLE001
                _LOGGER.debug("run %s was not renewed: %s", self._run_id, first_line(error))
