"""Delivery of records to MLflow: any number of them at once, each as often as it takes.

Repeating a record is harmless: a run is found by its tags before it is created, a metric's
timestamp is its run's start time plus its step in milliseconds, so that MLflow sees an equal point
and drops it, and tags, status and files overwrite.
"""

from __future__ import annotations

import json
import logging
import math
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from orchestrator.tracking.encoder_file import CARD_NAME, WEIGHTS_NAME
from orchestrator.tracking.experiment import check_experiment
from orchestrator.tracking.mlflow_client import (
    Refused,
    first_line,
    is_refusal,
    is_temporary,
    repeated,
)
from orchestrator.tracking.models import log_encoder_files
from orchestrator.tracking.recorded import KILLED, Record, state_at_end
from orchestrator.tracking.registered_models import (
    Measured,
    Registered,
    describe_versions,
    register_model,
)
from orchestrator.tracking.run_batches import Numbered, Point, RunBatch, batches_of, records_of
from orchestrator.tracking.run_names import SWEEP_RUN, run_of_tags
from orchestrator.tracking.runs import RUNNING, OurRun, RunDirectory
from orchestrator.tracking.tags import (
    LONGEST_PARAM,
    REASON_TAG,
    STATE_TAG,
    shortened_tags,
)
from orchestrator.trial_state import TrialState
from prp_core.errors import ObjectMissing

_LOGGER = logging.getLogger(__name__)

METRICS_PER_REQUEST = 1000  # MLflow's limit
TAGS_PER_REQUEST = 100  # MLflow's limit
FILE_ATTEMPTS = 3
ENCODER_FILES = (CARD_NAME, WEIGHTS_NAME)
CONFIG_FILE = "config.json"
FILES = " files"  # after a run's name: its files, which wait alone

# How a run ends for us, and MLflow's status for it.
STATUSES: dict[str, str] = {
    TrialState.FINISHED: "FINISHED",
    TrialState.PRUNED: "FINISHED",
    TrialState.FAILED: "FAILED",
    KILLED: "KILLED",
}


@dataclass(frozen=True)
class Aside:
    """Records of a run that MLflow refused, from number `first` on, for a reason that a person can
    undo. They are tried again.
    """

    first: int
    reason: str


class Delivery:
    """Sends the records of one sweep through `client`, the parent's first."""

    def __init__(
        self,
        client: Any,
        tracking_uri: str,
        experiment_id: str,
        sweep_id: str,
        *,
        start_of: Callable[[str], Record | None],
        read_file: Callable[[str], bytes],
        sweep_key: str = "",
    ) -> None:
        """`start_of` gives the last start of a run, `read_file` a file of the sweep's folder."""
        self.runs = RunDirectory(client, experiment_id, sweep_id, start_of, sweep_key)
        self.num_points = 0
        self.num_refused = 0  # for good
        self.registered: dict[str, Registered] = {}  # by the run whose encoder it is
        self._client = client
        self._uri = tracking_uri
        self._experiment_id = experiment_id
        self._sweep_id = sweep_id
        self._read_file = read_file

    def deliver(self, records: Sequence[Numbered], aside: dict[str, Aside]) -> None:
        """Send `records`. Those of a run that is in `aside` wait; a run that is refused gets there.

        Raises `Refused` when MLflow refuses all of it, and what MLflow raises when it does not
        answer: then some may have been sent.
        """
        for part in batches_of(records):
            if isinstance(part, dict):
                self._end_all(part)
            elif part.run not in aside:
                try:
                    self._send(part, aside)
                except Refused as error:
                    check_experiment(self._client, self._uri, self._experiment_id)
                    aside[part.run] = Aside(part.first, str(error))

    def deliver_again(
        self, waiting: Mapping[str, Aside], records: Sequence[Numbered]
    ) -> dict[str, Aside]:
        """Send again what is `waiting` of `records`; what is refused again.

        Raises as `deliver` does.
        """
        still: dict[str, Aside] = {}
        for channel, one in waiting.items():
            run = channel.removesuffix(FILES)
            mine = records_of(run, [found for found in records if found[0] >= one.first])
            if channel == run:
                self.deliver(mine, still)
            else:
                self._deliver_files(mine, still)
        return still

    def _deliver_files(self, records: Sequence[Numbered], aside: dict[str, Aside]) -> None:
        for batch in batches_of(records):
            assert isinstance(batch, RunBatch), batch
            self._send_files(self.runs.get(batch.run), batch, aside)

    def _send(self, batch: RunBatch, aside: dict[str, Aside]) -> None:
        ours = self._made(batch)
        if batch.start is not None and (name := batch.start.get("first_metric")):
            self._log_without_value(ours, name)
        for first in range(0, len(batch.points), METRICS_PER_REQUEST):
            self._send_points(ours, batch.points[first : first + METRICS_PER_REQUEST])
        self._send_experiment_tags(ours, batch.experiment_tags)
        if batch.start is not None:
            self._send_datasets(ours, batch.start.get("datasets", ()))
        tags = batch.tags | (_state_tags(batch.state) if batch.state else {})
        self._send_tags(ours, tags)
        self._send_files(ours, batch, aside)
        if batch.state is not None:  # last: a run that looks finished is complete
            self._set_status(ours, batch.state)

    def _made(self, batch: RunBatch) -> OurRun:
        try:
            if batch.start is not None:
                return self.runs.start(batch.run, batch.start)
            return self.runs.get(batch.run)
        except Exception as error:
            if isinstance(error, Refused) or (is_temporary(error) and not is_refusal(error)):
                raise
            raise Refused(f"{batch.run}: {first_line(error)}") from error

    def _send_points(self, run: OurRun, points: Sequence[Point]) -> None:
        try:
            self._log_points(run, points)
        # raised again unless it is about these points
        except Exception as error:  # noqa: BLE001
            self._raise_unless_bad(error, run)
            # Name by name, so that a bad one costs its own points only.
            for name in dict.fromkeys(point[0] for point in points):
                mine = [point for point in points if point[0] == name]
                self._attempt(
                    lambda mine=mine: self._log_points(run, mine),  # type: ignore[misc]
                    run,
                    f"{len(mine)} points of {name!r}",
                )

    def _log_points(self, run: OurRun, points: Sequence[Point]) -> None:
        from mlflow.entities import Metric

        metrics = [Metric(name, value, run.start_ms + step, step) for name, value, step in points]
        repeated(lambda: self._client.log_batch(run.run_id, metrics=metrics, synchronous=True))
        self.num_points += len(points)

    def _log_without_value(self, run: OurRun, name: str) -> None:
        """Log that `run` has a metric called `name`, whose value is not known yet."""
        from mlflow.entities import Metric

        point = Metric(name, math.nan, run.start_ms, 0)
        self._attempt(
            lambda: self._client.log_batch(run.run_id, metrics=[point], synchronous=True),
            run,
            f"that {name!r} comes first",
        )

    def _send_tags(self, run: OurRun, tags: Mapping[str, str]) -> None:
        from mlflow.entities import RunTag

        items = list(shortened_tags(tags).items())
        for first in range(0, len(items), TAGS_PER_REQUEST):
            some = [RunTag(*item) for item in items[first : first + TAGS_PER_REQUEST]]
            self._attempt(
                lambda some=some: self._client.log_batch(  # type: ignore[misc]
                    run.run_id, tags=some, synchronous=True
                ),
                run,
                f"the tags {', '.join(tag.key for tag in some)}",
            )

    def _send_experiment_tags(self, run: OurRun, tags: Mapping[str, str]) -> None:
        for key, value in tags.items():
            self._attempt(
                lambda key=key, value=value: self._client.set_experiment_tag(  # type: ignore[misc]
                    self._experiment_id, key, value
                ),
                run,
                f"the experiment's tag {key}",
            )

    def _send_datasets(self, run: OurRun, datasets: Sequence[Mapping[str, str]]) -> None:
        if not datasets:
            return
        inputs = dataset_inputs(datasets)
        self._attempt(
            lambda: self._client.log_inputs(run.run_id, datasets=inputs), run, "its data sets"
        )

    def _set_status(self, run: OurRun, state: Record) -> None:
        if state["what"] == "start":
            self._attempt(
                lambda: self._client.update_run(run.run_id, status=RUNNING), run, "its status"
            )
        else:
            self._terminate(run.run_id, state)

    def _terminate(self, run_id: str, end: Record) -> None:
        status = STATUSES[end["state"]]
        repeated(lambda: self._client.set_terminated(run_id, status, end_time=end["time"]))

    def _end_all(self, end: Record) -> None:
        """End every run of the sweep that still is RUNNING, the parent last."""
        running = self.runs.runs_in_state(RUNNING)
        for run in sorted(running, key=lambda run: run_of_tags(run.data.tags) == SWEEP_RUN):
            ours = OurRun(run.info.run_id, run.info.start_time)
            its_end = {**end, "state": state_at_end(end, run_of_tags(run.data.tags))}
            self._send_tags(ours, _state_tags(its_end))
            self._terminate(ours.run_id, its_end)

    # ---- files, which have a store of their own that may refuse them alone

    def _send_files(self, run: OurRun, batch: RunBatch, aside: dict[str, Aside]) -> None:
        channel = batch.run + FILES
        if channel in aside:
            return
        try:
            for path, read in self._texts_of(batch):
                self._send_text(run, path, read)
            for one in batch.models.values():
                self._send_model(run, one)
            for name, text in batch.descriptions.items():
                self._store(
                    run,
                    "its encoder's description",
                    lambda name=name, text=text: describe_versions(  # type: ignore[misc]
                        self._client, name, run.run_id, text
                    ),
                )
        except Refused as error:
            aside[channel] = Aside(batch.first, str(error))

    def _texts_of(self, batch: RunBatch) -> Iterator[tuple[str, Callable[[], bytes]]]:
        start = batch.start or {"params": {}}
        for name, value in start["params"].items():
            if len(value) > LONGEST_PARAM:  # MLflow has its beginning
                yield f"params/{name}.txt", value.encode
        if config := start.get("config"):
            yield CONFIG_FILE, json.dumps(config, indent=1).encode
        for path, one in batch.texts.items():
            yield path, lambda key=one["key"]: self._read_file(key)  # type: ignore[misc]

    def _send_text(self, run: OurRun, path: str, read: Callable[[], bytes]) -> None:
        try:
            data = read()
        except ObjectMissing as error:
            self._refuse_for_good(run, path, error)
            return
        self._store(run, path, lambda: log_file(self._client, run.run_id, path, data))

    def _send_model(self, run: OurRun, one: Record) -> None:
        try:
            files = {name: self._read_file(f"{one['key']}/{name}") for name in ENCODER_FILES}
        except ObjectMissing as error:
            self._refuse_for_good(run, "its encoder", error)
            return

        def register() -> None:
            model_id = log_encoder_files(
                self._client,
                run.run_id,
                files,
                name=one["name"],
                metrics=one["metrics"],
                step=one["step"],
                tags=one["tags"],
            )
            if one["measured"] is None:  # a trial beside the winner
                return
            measured = Measured(**one["measured"])
            found = register_model(self._client, model_id, one["name"], measured)
            number = one["run"].rpartition("/")[2]
            self._send_tags(
                self.runs.get(SWEEP_RUN), {"prp.winner": number, "prp.model": found.uri}
            )
            self.registered[one["run"]] = found

        self._store(run, "the encoder", register)

    def _store(self, run: OurRun, what: str, call: Callable[[], None]) -> None:
        """Do `call`, some times; raises `Refused` where that alone fails."""
        for attempt in range(FILE_ATTEMPTS):
            try:
                call()
                return
            except Exception as error:  # of any library that stores artifacts
                self._client.get_run(run.run_id)  # raises where MLflow itself is away
                if attempt == FILE_ATTEMPTS - 1:
                    raise Refused(f"{what} cannot be stored: {first_line(error)}") from error

    # ---- what MLflow refuses

    def _attempt(self, call: Callable[[], Any], run: OurRun, what: str) -> None:
        """Do `call`; what MLflow refuses for good is said and counted."""
        try:
            repeated(call)
        # raised again unless it is about what was sent
        except Exception as error:  # noqa: BLE001
            self._raise_unless_bad(error, run)
            self._refuse_for_good(run, what, error)

    def _raise_unless_bad(self, error: Exception, run: OurRun) -> None:
        """Raise unless `error` is about what was sent: `Refused` where the run or the experiment
        was deleted or may not be written to.
        """
        if is_refusal(error):
            raise Refused(f"MLflow at {self._uri} refuses: {first_line(error)}") from error
        if is_temporary(error):
            raise error
        check_experiment(self._client, self._uri, self._experiment_id)
        if self._client.get_run(run.run_id).info.lifecycle_stage != "active":
            raise Refused(f"run {run.run_id} was deleted in MLflow; restore it") from error

    def _refuse_for_good(self, run: OurRun, what: str, error: Exception) -> None:
        self.num_refused += 1
        _LOGGER.warning(
            "MLflow permanently refuses %s of run %s: %s", what, run.run_id, first_line(error)
        )


def _state_tags(state: Record) -> dict[str, str]:
    if state["what"] == "start":
        return {STATE_TAG: TrialState.RUNNING, REASON_TAG: ""}
    return {STATE_TAG: state["state"], REASON_TAG: state["reason"]}


def dataset_inputs(datasets: Sequence[Mapping[str, str]]) -> list[Any]:
    """The data sets of a run's start as MLflow's inputs."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    return [
        DatasetInput(
            Dataset(
                name=one["name"],
                digest=one["digest"],
                source_type="uri",
                source=json.dumps({"uri": one["source"]}),
            ),
            [InputTag("mlflow.data.context", one["context"])],
        )
        for one in datasets
    ]


def log_file(client: Any, run_id: str, path: str, data: bytes) -> None:
    """Store `data` as the run's artifact `path`, replacing it."""
    place = PurePosixPath(path)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / place.name
        file.write_bytes(data)
        above = str(place.parent)
        client.log_artifact(run_id, str(file), None if above == "." else above)
