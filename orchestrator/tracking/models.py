"""Encoders as MLflow models: logged with their metrics, and loaded again.

from orchestrator.tracking import load_encoder
encoder = load_encoder("models:/prp-demo@best", "sqlite:////home/me/.prp/mlflow.db")
features_BCTHW = encoder(clip_BCTHW)
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orchestrator.storage.open_store import open_store
from orchestrator.tracking.encoder_file import (
    CARD_NAME,
    WEIGHTS_NAME,
    DamagedEncoder,
    EncoderCard,
    digest,
    unpack,
)
from orchestrator.tracking.mlflow_client import connect, first_line, is_temporary
from prp_core.data.object_store import read_all
from prp_core.errors import ObjectMissing, UserError

CARD_TAG = "prp.card_sha256"
WEIGHTS_TAG = "prp.weights_sha256"
MODEL_TAG = (
    "prp.model_id"  # on a registered version: MLflow itself does not keep which logged model it is
)
VERSIONS_TAG = (
    "mlflow.modelVersions"  # MLflow's own, on a logged model: its page shows the versions of it
)
MODEL_TYPE = "prp-encoder"
MODEL_URI = re.compile(
    r"models:/(?:(?P<id>m-[0-9a-f]{32})"
    r"|(?P<name>[^/@]+)(?:@(?P<alias>[^/@]+)|/(?P<version>\d+|latest)))"
)


def load_encoder(model_uri: str, tracking_uri: str | None = None) -> Any:
    """The encoder at `model_uri`, on the CPU, in evaluation mode.

    It maps ``(B, 3, T, H, W)`` to ``(B, feature_channels, T/8, H/16, W/16)``.

    `model_uri` is ``models:/NAME@ALIAS``, ``models:/NAME/VERSION``, ``models:/NAME/latest`` (the
    newest version) or ``models:/MODEL_ID``, or the folder of an encoder in a sweep's storage
    (``s3://bucket/prefix`` or a path), for which no MLflow is needed. `tracking_uri` defaults to
    the variable MLFLOW_TRACKING_URI. Raises `UserError` when there is no such model,
    `DamagedEncoder` when its files are not those stored.
    """
    if not model_uri.startswith("models:"):
        return _rebuild(*unpack(_read_folder(model_uri)))
    uri = tracking_uri or os.environ.get("MLFLOW_TRACKING_URI")
    if not uri:
        raise UserError(
            "Which MLflow? Pass tracking_uri (for example 'sqlite:////path/mlflow.db') "
            "or set MLFLOW_TRACKING_URI"
        )
    client = connect(uri)
    model = client.get_logged_model(_model_id(client, model_uri, uri))
    if WEIGHTS_TAG not in model.tags:
        raise UserError(f"{model_uri!r} at {uri} is not an encoder that this package stored")
    return _rebuild(*unpack(_download(model, uri), model.tags.get(CARD_TAG, "")))


def log_encoder_files(
    client: Any,
    run_id: str,
    files: Mapping[str, bytes],
    *,
    name: str,
    metrics: Mapping[str, float],
    step: int,
    tags: Mapping[str, str],
) -> str:
    """The id of the logged model of the run that stores the files of `encoder_file.pack`.

    It is linked to the run's `metrics` at `step`. Idempotent: the same weights in the same run are
    the same model.
    """
    from mlflow.entities import LoggedModelOutput, Metric

    run = client.get_run(run_id)
    model = _find_or_create(client, run, files, name, tags)
    if model.status != "READY":
        with tempfile.TemporaryDirectory() as folder:
            for file_name, data in files.items():
                (Path(folder) / file_name).write_bytes(data)
            client.log_model_artifacts(model.model_id, folder)
        client.finalize_logged_model(model.model_id, "READY")
    outputs = run.outputs.model_outputs if run.outputs else []
    if model.model_id not in {output.model_id for output in outputs}:
        client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step)])
    time_ms = (
        run.info.start_time + step
    )  # as the sender does: the same point as the one the run may have already
    points = [
        Metric(key, value, time_ms, step, model_id=model.model_id, run_id=run_id)
        for key, value in metrics.items()
    ]
    client.log_batch(run_id, metrics=points, synchronous=True)
    return str(model.model_id)


def _find_or_create(
    client: Any, run: Any, files: Mapping[str, bytes], name: str, tags: Mapping[str, str]
) -> Any:
    weights_sha256 = digest(files[WEIGHTS_NAME])
    condition = (
        f"source_run_id = '{run.info.run_id}' AND name = '{name}' AND tags.`{WEIGHTS_TAG}` "
        f"= '{weights_sha256}'"
    )
    found = client.search_logged_models([run.info.experiment_id], filter_string=condition)
    if found:
        return found[0]
    all_tags = {**tags, WEIGHTS_TAG: weights_sha256, CARD_TAG: digest(files[CARD_NAME])}
    return client.create_logged_model(
        run.info.experiment_id,
        name=name,
        source_run_id=run.info.run_id,
        tags=all_tags,
        model_type=MODEL_TYPE,
    )


def _model_id(client: Any, model_uri: str, tracking_uri: str) -> str:
    parts = MODEL_URI.fullmatch(model_uri)
    if parts is None:
        raise UserError(
            f"Cannot read {model_uri!r}: write models:/NAME@ALIAS, models:/NAME/VERSION "
            "models:/NAME/latest, models:/MODEL_ID, or the folder of an encoder"
        )
    if parts["id"]:
        return parts["id"]
    try:
        if parts["alias"]:
            version = client.get_model_version_by_alias(parts["name"], parts["alias"])
        elif parts["version"] == "latest":
            version = max(
                client.search_model_versions(f"name='{parts['name']}'"),
                key=lambda one: int(one.version),
            )
        else:
            version = client.get_model_version(parts["name"], parts["version"])
    except Exception as error:
        if is_temporary(error):
            raise
        known = (
            ", ".join(
                sorted(model.name for model in client.search_registered_models(max_results=20))
            )
            or "none"
        )
        raise UserError(
            f"No {model_uri!r} at {tracking_uri} ({first_line(error)}); registered there: {known}"
        ) from error
    if MODEL_TAG not in version.tags:
        raise UserError(
            f"{model_uri!r} at {tracking_uri} is not an encoder that this package stored"
        )
    return str(version.tags[MODEL_TAG])


def _rebuild(card: EncoderCard, weights: Mapping[str, Any]) -> Any:
    from prp_core.training.encoder_export import rebuild_encoder

    return rebuild_encoder(card.encoder, weights)


def _read_folder(uri: str) -> dict[str, bytes]:
    """The files of the encoder in a folder of any store. Raises `UserError` where there is none."""
    store = open_store(uri)
    try:
        return {name: read_all(store, name) for name in (CARD_NAME, WEIGHTS_NAME)}
    except ObjectMissing as error:
        raise UserError(f"There is no encoder in {uri}: {error}") from None


def _download(model: Any, tracking_uri: str) -> dict[str, bytes]:
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    repository = get_artifact_repository(model.artifact_location, tracking_uri=tracking_uri)
    names = {file.path for file in repository.list_artifacts()}
    missing = {CARD_NAME, WEIGHTS_NAME} - names
    if missing:
        raise DamagedEncoder(
            f"{', '.join(sorted(missing))} missing at {model.artifact_location}; there "
            f"are: {', '.join(sorted(names)) or 'no files'}"
        )
    with tempfile.TemporaryDirectory() as folder:
        return {
            name: Path(repository.download_artifacts(name, folder)).read_bytes()
            for name in (CARD_NAME, WEIGHTS_NAME)
        }
