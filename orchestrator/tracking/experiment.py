"""Opening an MLflow experiment: found by its name, or created."""

from __future__ import annotations

from typing import Any

from orchestrator.tracking.mlflow_client import Refused, first_line, is_refusal, is_temporary


def open_experiment(client: Any, tracking_uri: str, name: str, artifact_root: str | None) -> str:
    """MLflow's id of the experiment `name`, which is created where there is none.

    `artifact_root` is where a new experiment keeps its files; None leaves that to the server.
    Raises `Refused` when MLflow refuses or when the experiment was deleted, and what MLflow raises
    when it does not answer.
    """
    try:
        return _find_or_create(client, tracking_uri, name, artifact_root)
    except Exception as error:
        if getattr(error, "error_code", None) == "RESOURCE_ALREADY_EXISTS":
            # another tracker created it in between
            return _find_or_create(client, tracking_uri, name, artifact_root)
        if isinstance(error, Refused) or (is_temporary(error) and not is_refusal(error)):
            raise
        hint = (
            "check your credentials (MLFLOW_TRACKING_USERNAME, MLFLOW_TRACKING_TOKEN)"
            if is_refusal(error)
            else "check the URI"
        )
        raise Refused(f"MLflow at {tracking_uri} refuses: {first_line(error)}; {hint}") from error


def check_experiment(client: Any, tracking_uri: str, experiment_id: str) -> None:
    """Raise `Refused` when the experiment was deleted since it was opened."""
    _refuse_deleted(client.get_experiment(experiment_id), tracking_uri)


def _find_or_create(client: Any, tracking_uri: str, name: str, artifact_root: str | None) -> str:
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        return str(client.create_experiment(name, artifact_location=artifact_root))
    _refuse_deleted(experiment, tracking_uri)
    return str(experiment.experiment_id)


def _refuse_deleted(experiment: Any, tracking_uri: str) -> None:
    if experiment.lifecycle_stage != "active":
        raise Refused(
            f"the MLflow experiment {experiment.name!r} at {tracking_uri} was deleted: restore it"
        )
