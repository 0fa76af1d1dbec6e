"""Closing of MLflow runs that nobody writes any more, because their process or sweep has gone."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from orchestrator.journal.open_runs import read_notes
from orchestrator.journal.process_identity import ProcessIdentity, is_dead, is_here
from orchestrator.tracking.delivery import STATUSES
from orchestrator.tracking.mlflow_client import first_line, repeated, retry
from orchestrator.tracking.reading import open_existing, running_runs
from orchestrator.tracking.recorded import KILLED
from orchestrator.tracking.run_owner import (
    ALIVE_TAG,
    OWNER_TAG,
    RENEW_SECONDS,
    Owner,
    owner_of,
)
from orchestrator.tracking.runs import RUNNING
from orchestrator.tracking.tags import PROBE, REASON_TAG, ROLE_TAG, STATE_TAG

_LOGGER = logging.getLogger(__name__)

# How long an owner on another machine is silent, by its clock and ours, before it is watched; it is
# dead when it renews nothing while it is watched. A clock that is wrong closes later, never sooner.
SILENT_SECONDS = 120.0
WATCHED_SECONDS = 2 * RENEW_SECONDS + 1.0
PATIENCE_SECONDS = 5.0  # with an MLflow that does not answer


def close_left_runs(tracking_uris: Iterable[str]) -> None:
    """Close the runs of dead processes at `tracking_uris`, and wherever a note in the home says
    that a process that has ended had runs. An MLflow that does not answer is left alone: all of
    them together are waited for no longer than one is.
    """
    give_up_at = time.monotonic() + PATIENCE_SECONDS
    # a process of another machine may share the home
    notes = [one for one in read_notes() if is_dead(one.process) or not is_here(one.process)]
    for uri in dict.fromkeys([*tracking_uris, *(note.tracking_uri for note in notes)]):
        try:
            patience_seconds = max(0.0, give_up_at - time.monotonic())
            open_still = close_dead_runs(uri, patience_seconds=patience_seconds)
        # whatever MLflow says, it is not the business of the command that closes
        except Exception as error:  # noqa: BLE001
            _LOGGER.info("runs at %s could not be closed: %s", uri, first_line(error))
            continue
        for note in notes:
            if note.tracking_uri == uri and note.process not in open_still and _is_old(note.path):
                note.remove()


def close_in_background(tracking_uris: Sequence[str]) -> None:
    """As `close_left_runs`, in a thread that the process waits for at its end; returns at once."""
    threading.Thread(target=close_left_runs, args=(tracking_uris,), name="dead-runs").start()


def close_dead_runs(
    tracking_uri: str,
    *,
    sleep: Callable[[float], None] = time.sleep,
    patience_seconds: float = PATIENCE_SECONDS,
) -> set[ProcessIdentity]:
    """Close every run at `tracking_uri` whose owner has died, as KILLED; the owners of the others.

    An owner on this machine is dead when its process has ended. One on another machine is when it
    has been silent for long, and renews nothing while it is watched for some seconds. Raises what
    MLflow raises, and `TrackerUnavailable`.
    """
    client = open_existing(tracking_uri)
    if client is None:
        return set()
    found = retry(
        lambda: running_runs(client, f"tags.`{OWNER_TAG}` LIKE '%'"), tracking_uri, patience_seconds
    )
    owned = [(run, owner) for run in found if (owner := owner_of(run.data.tags)) is not None]
    dead = [(run, owner) for run, owner in owned if is_dead(owner.process)]
    silent = [(run, owner) for run, owner in owned if _is_silent(owner)]
    if silent:
        sleep(WATCHED_SECONDS)
    closed = {run.info.run_id for run, owner in [*dead, *silent] if _close(client, run, owner)}
    return {owner.process for run, owner in owned if run.info.run_id not in closed}


def close_runs_of_sweep(tracking_uri: str, tags: Mapping[str, str], reason: str) -> int:
    """Close every run with the `tags` of a sweep that nobody drives, for that `reason`; how many.

    Raises what MLflow raises, and `TrackerUnavailable`.
    """
    client = open_existing(tracking_uri)
    if client is None:
        return 0
    condition = " and ".join(f"tags.`{name}` = '{value}'" for name, value in tags.items())
    found = retry(lambda: running_runs(client, condition), tracking_uri, PATIENCE_SECONDS)
    end = {STATE_TAG: KILLED, REASON_TAG: reason}
    for run in found:
        _terminate(client, run.info.run_id, end, int(time.time() * 1000))
    return len(found)


def _is_silent(owner: Owner) -> bool:
    return not is_here(owner.process) and time.time() - owner.alive > SILENT_SECONDS


def _close(client: Any, run: Any, owner: Owner) -> bool:
    """Close `run` if it still is as it was found, by an owner that says nothing any more."""
    run_id, marks = run.info.run_id, _marks(run)
    now = client.get_run(run_id)
    if now.info.status != RUNNING:
        return True
    if _marks(now) != marks:
        return False
    reason = f"its process ended without closing it: {owner.process}"
    _terminate(client, run_id, {REASON_TAG: reason}, int(owner.alive * 1000))
    if _marks(client.get_run(run_id)) != marks:  # taken up again in this very moment
        client.update_run(run_id, status=RUNNING)
        return False
    if run.data.tags.get(ROLE_TAG) == PROBE:
        client.delete_run(run_id)
    return True


def _terminate(client: Any, run_id: str, tags: Mapping[str, str], end_ms: int) -> None:
    from mlflow.entities import RunTag

    new_tags = [RunTag(*item) for item in tags.items()]
    repeated(lambda: client.log_batch(run_id, tags=new_tags, synchronous=True))
    repeated(lambda: client.set_terminated(run_id, STATUSES[KILLED], end_time=end_ms))


def _marks(run: Any) -> tuple[str, str]:
    tags = run.data.tags
    return tags.get(OWNER_TAG, ""), tags.get(ALIVE_TAG, "")


def _is_old(path: Path) -> bool:
    """Whether no request of the process that wrote the file can be under way any more."""
    try:
        return bool(time.time() - path.stat().st_mtime > SILENT_SECONDS)
    except OSError:
        return False
