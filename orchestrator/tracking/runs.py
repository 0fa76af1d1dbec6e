"""Lookup of MLflow runs by tag: a repeated or retried request finds the same run."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.tracking.mlflow_client import Refused, repeated
from orchestrator.tracking.recorded import Record
from orchestrator.tracking.run_names import (
    SWEEP_RUN,
    identity_of,
    run_of_tags,
    tags_of_sweep,
    title_of,
)
from orchestrator.tracking.tags import (
    CANONICAL_TAG,
    CONFIG_TAG,
    LONGEST_PARAM,
    PARENT_TAG,
    STATE_TAG,
    is_canonical,
    shortened,
    shortened_tags,
)
from orchestrator.trial_state import TrialState
from prp_core.errors import UserError

_LOGGER = logging.getLogger(__name__)

PARAMS_PER_REQUEST = 100  # MLflow's limit
RUNNING = "RUNNING"


@dataclass(frozen=True)
class OurRun:
    """A run's id in MLflow, and its start in milliseconds since 1970."""

    run_id: str
    start_ms: int


def find_runs(
    client: Any, experiment_id: str, tags: Mapping[str, str], *, deleted: bool = False
) -> list[Any]:
    """All runs with `tags`, the canonical ones first, then the oldest; `deleted`: those in the bin.

    Raises `UserError` for a value with quotes.
    """
    condition = " and ".join(
        f"tags.`{name}` = '{_quotable(value)}'" for name, value in tags.items()
    )
    runs: list[Any] = []
    token = None
    while True:
        page = repeated(
            lambda token=token: client.search_runs(  # type: ignore[misc]
                [experiment_id],
                condition,
                run_view_type=2 if deleted else 1,  # mlflow.entities.ViewType
                max_results=1000,
                page_token=token,
            )
        )
        runs.extend(page)
        token = page.token
        if not token:
            break
    return sorted(
        runs,
        key=lambda run: (
            not is_canonical(run.data.tags),
            run.info.start_time,
            run.info.run_id,
        ),
    )


class RunDirectory:
    """Finds and creates the runs of one sweep; what was found is remembered.

    Every call is one attempt, safe to repeat. Raises `Refused` for a run that a person deleted.
    """

    def __init__(
        self,
        client: Any,
        experiment_id: str,
        sweep_id: str,
        start_of: Callable[[str], Record | None],
        sweep_key: str = "",
    ) -> None:
        """`start_of` gives the last record of a run's start, by its name."""
        self._client = client
        self._experiment_id = experiment_id
        self._sweep_id = sweep_id
        self._sweep_key = sweep_key
        self._start_of = start_of
        self._known: dict[str, OurRun] = {}

    def known(self, run: str) -> OurRun | None:
        """`run` if it was looked for before; asks nobody."""
        return self._known.get(run)

    def get(self, run: str) -> OurRun:
        """`run`, created from its last start where MLflow has none."""
        return self._known.get(run) or self.start(run, self._start_of(run))

    def start(self, run: str, start: Record | None) -> OurRun:
        """`run`, found or created, with all parameters of `start` and its tags.

        A parameter that has another value there keeps it, with a warning: MLflow changes none.
        """
        start = start or {"params": {}, "tags": {}, "time": 0}
        identity = identity_of(self._sweep_id, run, self._sweep_key)
        tags = dict(start["tags"])
        if config := start.get("config"):
            tags[CONFIG_TAG] = json.dumps(config)
        if run != SWEEP_RUN:
            tags[PARENT_TAG] = self.get(SWEEP_RUN).run_id
        found = find_runs(self._client, self._experiment_id, identity)
        if not found or not is_canonical(found[0].data.tags):
            self._refuse_deleted(run, identity)
        mine = found[0] if found else self._create(run, start, {**tags, **identity})
        self._complete(run, mine, start["params"], {**tags, CANONICAL_TAG: "yes"})
        self._known[run] = OurRun(mine.info.run_id, mine.info.start_time)
        return self._known[run]

    def _create(self, run: str, start: Record, tags: Mapping[str, str]) -> Any:
        """A new run of MLflow for `run`; the one that another sender has made meanwhile, such as a
        coordinator that this one replaces, where there is one.
        """
        made = self._client.create_run(
            self._experiment_id,
            start_time=start["time"],
            tags=shortened_tags({**tags, STATE_TAG: TrialState.RUNNING}),
            run_name=start.get("title") or title_of(self._sweep_id, run),
        )
        identity = identity_of(self._sweep_id, run, self._sweep_key)
        first = next(iter(find_runs(self._client, self._experiment_id, identity)), made)
        if not is_canonical(first.data.tags):
            return made
        self._client.delete_run(made.info.run_id)
        return first

    def runs_in_state(self, status: str) -> list[Any]:
        """The sweep's runs with MLflow's `status`, one for each: the one that is known here, else
        the first canonical one. Duplicates, which a late request or an earlier sender made, go into
        MLflow's bin.
        """
        own = tags_of_sweep(self._sweep_id, self._sweep_key)
        runs = find_runs(self._client, self._experiment_id, own)
        kept_ids = {name: known.run_id for name, known in self._known.items()}
        for run in filter(lambda run: is_canonical(run.data.tags), runs):
            kept_ids.setdefault(run_of_tags(run.data.tags), run.info.run_id)
        kept = []
        for run in runs:
            if kept_ids.get(run_of_tags(run.data.tags), run.info.run_id) != run.info.run_id:
                self._client.delete_run(run.info.run_id)
            elif run.info.status == status:
                kept.append(run)
        return kept

    def _refuse_deleted(self, run: str, identity: Mapping[str, str]) -> None:
        for gone in find_runs(self._client, self._experiment_id, identity, deleted=True):
            if is_canonical(gone.data.tags):
                raise Refused(
                    f"run {gone.info.run_id} ({title_of(self._sweep_id, run)}) was deleted in "
                    "MLflow; restore it"
                )

    def _complete(
        self, run: str, mine: Any, params: Mapping[str, str], tags: Mapping[str, str]
    ) -> None:
        from mlflow.entities import Param, RunTag

        short = {key: shortened(value, LONGEST_PARAM) for key, value in params.items()}
        present = mine.data.params
        changed = [
            f"{key} was {present[key]!r}, is now {short[key]!r}"
            for key in sorted(short)
            if key in present and present[key] != short[key]
        ]
        if changed:
            _LOGGER.warning(
                "%s keeps the parameters that it was started with in MLflow: %s",
                title_of(self._sweep_id, run),
                "; ".join(changed),
            )
        missing = [Param(key, value) for key, value in short.items() if key not in present]
        for first in range(0, len(missing), PARAMS_PER_REQUEST):
            some = missing[first : first + PARAMS_PER_REQUEST]
            repeated(
                lambda some=some: self._client.log_batch(  # type: ignore[misc]
                    mine.info.run_id, params=some, synchronous=True
                )
            )
        new_tags = [RunTag(*item) for item in shortened_tags(tags).items()]
        repeated(lambda: self._client.log_batch(mine.info.run_id, tags=new_tags, synchronous=True))


def _quotable(value: str) -> str:
    if "'" in value or '"' in value:
        raise UserError(f"{value!r} cannot name a sweep: quotes are not allowed in it")
    return value
