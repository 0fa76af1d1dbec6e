"""Model URIs: which logged model of MLflow an alias, a version, a run or an id names."""

from __future__ import annotations

import re
from typing import Any

from orchestrator.tracking.mlflow_client import first_line, is_temporary
from prp_core.errors import UserError

MODEL_TAG = (
    "prp.model_id"  # on a registered version: MLflow itself does not keep which logged model it is
)
WINNER_TAG = "prp.model"  # on the run of a sweep: the URI of its winner's version
MODEL_URI = re.compile(
    r"models:/(?:(?P<id>m-[0-9a-f]{32})"
    r"|(?P<name>[^/@]+)(?:@(?P<alias>[^/@]+)|/(?P<version>\d+|latest)))"
    r"|runs:/(?P<run>[0-9a-f]{32})(?:/[^/]*)?"
)
SCHEMES = ("models:", "runs:")
FORMS = (
    "models:/NAME@ALIAS, models:/NAME/VERSION, models:/NAME/latest, models:/MODEL_ID, "
    "runs:/RUN_ID, or the folder of an encoder"
)


def names_model(uri: str) -> bool:
    """Whether `uri` is one of MLflow's, and not a folder's."""
    return uri.startswith(SCHEMES)


def check_model_uri(model_uri: str) -> None:
    """Raise `UserError` for a URI of none of the forms."""
    if MODEL_URI.fullmatch(model_uri) is None:
        raise UserError(f"Cannot read {model_uri!r}: write {FORMS}")


def model_id_of(client: Any, model_uri: str, tracking_uri: str) -> str:
    """The id of the logged model that `model_uri` names; of a run its last one, of a sweep's run
    its winner's.

    Raises `UserError` where there is none, with those that are registered.
    """
    check_model_uri(model_uri)
    parts = MODEL_URI.fullmatch(model_uri)
    assert parts is not None, model_uri
    if parts["id"]:
        return parts["id"]
    try:
        if parts["run"]:
            return _of_run(client, parts["run"], tracking_uri)
        version = _version(client, parts)
    except UserError:
        raise
    except Exception as error:
        if is_temporary(error):
            raise
        known = _registered(client)
        raise UserError(
            f"No {model_uri!r} at {tracking_uri} ({first_line(error)}); registered there: {known}"
        ) from error
    if MODEL_TAG not in version.tags:
        raise UserError(
            f"{model_uri!r} at {tracking_uri} is not an encoder that this package stored"
        )
    return str(version.tags[MODEL_TAG])


def _version(client: Any, parts: re.Match[str]) -> Any:
    name = parts["name"]
    if parts["alias"]:
        return client.get_model_version_by_alias(name, parts["alias"])
    if parts["version"] == "latest":
        versions = client.search_model_versions(f"name='{name}'")
        if not versions:
            raise UserError(
                f"No version of {name!r} is registered; there are: {_registered(client)}"
            )
        return max(versions, key=lambda one: int(one.version))
    return client.get_model_version(name, parts["version"])


def _of_run(client: Any, run_id: str, tracking_uri: str) -> str:
    run = client.get_run(run_id)
    if WINNER_TAG in run.data.tags:
        return model_id_of(client, run.data.tags[WINNER_TAG], tracking_uri)
    found = client.search_logged_models(
        [run.info.experiment_id],
        filter_string=f"source_run_id = '{run_id}'",
        order_by=[{"field_name": "creation_time", "ascending": False}],
        max_results=1,
    )
    if not found:
        raise UserError(
            f"Run {run_id} at {tracking_uri} has no encoder: of a sweep, the winner and the best "
            "trials have one"
        )
    return str(found[0].model_id)


def _registered(client: Any) -> str:
    names = sorted(model.name for model in client.search_registered_models(max_results=20))
    return ", ".join(names) or "none"
