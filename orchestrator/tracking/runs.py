"""Lookup of MLflow runs by tag: a repeated or retried request finds the same run."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import partial
from typing import Any

from orchestrator.tracking.mlflow_client import retry
from orchestrator.tracking.tags import (
    CANONICAL_TAG,
    CONFIRM_TAG,
    LONGEST_PARAM,
    SEED_TAG,
    SWEEP_TAG,
    TRIAL_TAG,
    shortened,
    shortened_tags,
)
from prp_core.errors import UserError

PARAMS_PER_REQUEST = 100  # MLflow's limit


class RunLookup:
    """Finds and creates the runs of one experiment."""

    def __init__(
        self, client: Any, tracking_uri: str, experiment_id: str, timeout_seconds: float
    ) -> None:
        self._client = client
        self._uri = tracking_uri
        self._experiment_id = experiment_id
        self._timeout_seconds = timeout_seconds

    def find(self, identity: Mapping[str, str]) -> list[Any]:
        """All runs with the tags of `identity`, the canonical ones first, then the oldest."""
        condition = " and ".join(
            f"tags.`{name}` = '{_quotable(value)}'" for name, value in identity.items()
        )

        def search() -> list[Any]:
            runs: list[Any] = []
            token = None
            while True:
                page = self._client.search_runs(
                    [self._experiment_id], condition, max_results=1000, page_token=token
                )
                runs.extend(page)
                token = page.token
                if not token:
                    return runs

        return sorted(
            self._retry(search),
            key=lambda run: (
                CANONICAL_TAG not in run.data.tags,
                run.info.start_time,
                run.info.run_id,
            ),
        )

    def find_or_create(
        self,
        identity: Mapping[str, str],
        name: str,
        params: Mapping[str, str],
        tags: Mapping[str, str],
    ) -> tuple[Any, bool]:
        """The run with the tags of `identity` and all of `params`, and whether it is new.

        A run that exists gets the parameters that it lacks and the new `tags`. Raises `UserError`
        when a parameter has another value there, `TrackerUnavailable`.
        """

        def attempt() -> tuple[Any, bool]:
            found = self.find(identity)
            if found:
                return found[0], CANONICAL_TAG not in found[0].data.tags
            all_tags = {**tags, **identity}
            return self._client.create_run(
                self._experiment_id,
                start_time=int(time.time() * 1000),
                tags=shortened_tags(all_tags),
                run_name=name,
            ), True

        run, is_new = self._retry(attempt)
        self._complete(run, name, params, tags)
        return run, is_new

    def get(self, run_id: str) -> Any:
        """The run of that id."""
        return self._retry(lambda: self._client.get_run(run_id))

    def delete_duplicates(self, runs: list[Any]) -> list[Any]:
        """`runs` without the duplicates that a retry after a lost reply created.

        MLflow keeps deleted runs in its bin.
        """
        canonical = {_identity(run) for run in runs if CANONICAL_TAG in run.data.tags}
        duplicates = [
            run
            for run in runs
            if CANONICAL_TAG not in run.data.tags and _identity(run) in canonical
        ]
        for run in duplicates:
            self._retry(partial(self._client.delete_run, run.info.run_id))
        return [run for run in runs if run not in duplicates]

    def _complete(
        self, run: Any, name: str, params: Mapping[str, str], tags: Mapping[str, str]
    ) -> None:
        from mlflow.entities import Param, RunTag

        short = {key: shortened(value, LONGEST_PARAM) for key, value in params.items()}
        present = run.data.params
        changed = [
            f"{key} was {present[key]!r}, is now {short[key]!r}"
            for key in sorted(short)
            if key in present and present[key] != short[key]
        ]
        if changed:
            raise UserError(
                f"{name} was started with other parameters: {'; '.join(changed)}. A "
                "resumed run keeps its own; start a new sweep instead"
            )
        missing = [Param(key, value) for key, value in short.items() if key not in present]
        for start in range(0, len(missing), PARAMS_PER_REQUEST):
            some = missing[start : start + PARAMS_PER_REQUEST]
            self._retry(
                partial(self._client.log_batch, run.info.run_id, params=some, synchronous=True)
            )
        for key in (key for key in short if short[key] != params[key]):
            self._retry(
                partial(self._client.log_text, run.info.run_id, params[key], f"params/{key}.txt")
            )
        new_tags = [
            RunTag(*item) for item in shortened_tags({**tags, CANONICAL_TAG: "yes"}).items()
        ]
        self._retry(
            lambda: self._client.log_batch(run.info.run_id, tags=new_tags, synchronous=True)
        )

    def _retry(self, call: Any) -> Any:
        return retry(call, self._uri, self._timeout_seconds)


def _identity(run: Any) -> tuple[str, ...]:
    return tuple(
        run.data.tags.get(tag, "") for tag in (SWEEP_TAG, TRIAL_TAG, CONFIRM_TAG, SEED_TAG)
    )


def _quotable(value: str) -> str:
    if "'" in value or '"' in value:
        raise UserError(f"{value!r} cannot name a sweep: quotes are not allowed in it")
    return value
