"""Opening an MLflow experiment: found by its name, or created."""

from __future__ import annotations

from typing import Any

from orchestrator.tracking.mlflow_client import TrackerUnavailable, first_line, is_refusal, retry
from prp_core.errors import UserError


def open_experiment(
    client: Any, tracking_uri: str, name: str, artifact_root: str | None, timeout_seconds: float
) -> str:
    """MLflow's id of the experiment `name`, which is created where there is none.

    `artifact_root` is where a new experiment keeps its files; None leaves that to the server.
    Raises `TrackerUnavailable` when MLflow does not answer within `timeout_seconds`, `UserError`
    when it refuses or when the experiment was deleted.
    """

    def find_or_create() -> str:
        experiment = client.get_experiment_by_name(name)
        if experiment is None:
            return str(client.create_experiment(name, artifact_location=artifact_root))
        if experiment.lifecycle_stage != "active":
            raise UserError(
                f"The MLflow experiment {name!r} at {tracking_uri} is in the bin: "
                "restore it or choose another name"
            )
        return str(experiment.experiment_id)

    def attempt() -> str:
        try:
            return find_or_create()
        except Exception as error:
            if getattr(error, "error_code", None) != "RESOURCE_ALREADY_EXISTS":
                raise
            return find_or_create()  # another tracker created it in between

    try:
        return retry(attempt, tracking_uri, timeout_seconds)
    except (UserError, TrackerUnavailable):
        raise
    except Exception as error:
        hint = (
            "check your credentials (MLFLOW_TRACKING_USERNAME, MLFLOW_TRACKING_TOKEN)"
            if is_refusal(error)
            else "check the URI"
        )
        raise UserError(f"MLflow at {tracking_uri} refuses: {first_line(error)}; {hint}") from error
