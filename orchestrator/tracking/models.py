"""Encoders as MLflow models: logged with their metrics, and loaded again.

from orchestrator.tracking import load_encoder
encoder = load_encoder("models:/prp-demo@best", "sqlite:////home/me/.prp/mlflow.db")
feature_D = encoder.feature(frames_NHWC)  # a whole video, uint8
features_BCTHW = encoder(clip_BCTHW)
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from orchestrator.config.run_config import parse_config
from orchestrator.config.store_config import StoreConfig
from orchestrator.storage.open_store import open_store
from orchestrator.tracking.encoder_file import (
    CARD_NAME,
    WEIGHTS_NAME,
    DamagedEncoder,
    EncoderCard,
    digest,
    unpack,
)
from orchestrator.tracking.local_files import sqlite_file
from orchestrator.tracking.mlflow_client import connect, first_line, is_temporary
from orchestrator.tracking.model_uri import check_model_uri, model_id_of, names_model
from orchestrator.tracking.tags import PROTOCOL_TAG, protocol_tag
from orchestrator.tracking.tracking_uri import check_usable
from prp_core.data.object_store import read_all
from prp_core.errors import ObjectMissing, UserError

if TYPE_CHECKING:
    from prp_core.evaluation.frame_encoder import FrameEncoder

CARD_TAG = "prp.card_sha256"
WEIGHTS_TAG = "prp.weights_sha256"
VERSIONS_TAG = (
    "mlflow.modelVersions"  # MLflow's own, on a logged model: its page shows the versions of it
)
MODEL_TYPE = "prp-encoder"


PROTOCOL = "protocol"  # the data set of a logged model's metric, whose digest is the hash


def load_encoder(
    model_uri: str, tracking_uri: str | None = None, *, store: StoreConfig | None = None
) -> FrameEncoder:
    """The encoder at `model_uri`, on the CPU, in evaluation mode, with its card and preprocessing.

    ``encoder.feature(frames_NHWC)`` maps the uint8 frames of a video to its feature;
    ``encoder(clip_BCTHW)`` maps clips ``(B, 3, T, H, W)`` in [0, 1] to ``(B, feature_channels, T/8,
    H/16, W/16)`` and refuses those of another size or range. ``encoder.card``, ``encoder.clip``,
    ``encoder.views`` and ``encoder.rates`` say what it is.

    `model_uri` is ``models:/NAME@ALIAS``, ``models:/NAME/VERSION``, ``models:/NAME/latest`` (the
    newest version), ``models:/MODEL_ID``, ``runs:/RUN_ID`` (a trial, or a sweep: its winner), or
    the folder of an encoder (``s3://bucket/prefix`` or a path), for which no MLflow is needed.
    `tracking_uri` defaults to the variable MLFLOW_TRACKING_URI. Raises `UserError` when there is no
    such model, or its files are no longer where MLflow recorded them; `DamagedEncoder` when they
    are not those stored.
    """
    return encoder_of_files(*read_encoder_files(model_uri, tracking_uri, store=store))


def encoder_of_files(files: Mapping[str, bytes], card_sha256: str = "") -> FrameEncoder:
    """The encoder in `files`, as `load_encoder` gives it. Raises `DamagedEncoder`."""
    return _rebuild(*unpack(files, card_sha256))


def read_encoder_files(
    model_uri: str, tracking_uri: str | None = None, *, store: StoreConfig | None = None
) -> tuple[dict[str, bytes], str]:
    """The files of the encoder at `model_uri`, and the sha256 of its card that MLflow keeps ("" for
    a folder). Raises as `load_encoder` does.
    """
    if not names_model(model_uri):
        return read_folder(model_uri, store), ""
    uri = tracking_uri or os.environ.get("MLFLOW_TRACKING_URI")
    if not uri:
        raise UserError(
            "No MLflow is named: pass tracking_uri (for example 'sqlite:////path/mlflow.db') "
            "or set MLFLOW_TRACKING_URI"
        )
    check_model_uri(model_uri)
    check_usable(uri)
    database = sqlite_file(uri)
    if database is not None and not database.exists():
        raise UserError(f"There is no MLflow database at {uri}, which should hold {model_uri!r}")
    client = connect(uri)
    model = _logged_model(client, model_id_of(client, model_uri, uri), model_uri, uri)
    if WEIGHTS_TAG not in model.tags:
        raise UserError(f"{model_uri!r} at {uri} is not an encoder that this package stored")
    return _download(client, model, uri), model.tags.get(CARD_TAG, "")


def _logged_model(client: Any, model_id: str, model_uri: str, tracking_uri: str) -> Any:
    try:
        return client.get_logged_model(model_id)
    except Exception as error:
        if is_temporary(error):
            raise
        raise UserError(f"No {model_uri!r} at {tracking_uri} ({first_line(error)})") from error


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

    It is linked to the run's `metrics` at `step`, each of a data set "protocol" whose digest is the
    hash of how it was measured: models are ranked within one of them. Idempotent: the same weights
    in the same run are the same model.
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
        Metric(
            key,
            value,
            time_ms,
            step,
            model_id=model.model_id,
            run_id=run_id,
            dataset_name=PROTOCOL if protocol_of(key, tags) else None,
            dataset_digest=protocol_of(key, tags) or None,
        )
        for key, value in metrics.items()
    ]
    client.log_batch(run_id, metrics=points, synchronous=True)
    return str(model.model_id)


def protocol_of(metric: str, tags: Mapping[str, str]) -> str:
    """The hash of the protocol of a metric of a run with `tags`: of its kind of figure where that
    has one, else the objective's; empty where neither is known.
    """
    kind = metric.partition("/")[0]
    return tags.get(protocol_tag(kind)) or tags.get(PROTOCOL_TAG, "")


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


def _rebuild(card: EncoderCard, weights: Mapping[str, Any]) -> FrameEncoder:
    """The encoder with the geometry of its card; a table that the card lacks has its defaults."""
    from prp_core.evaluation.frame_encoder import FrameEncoder
    from prp_core.training.encoder_export import rebuild_encoder

    odd = [name for name, values in weights.items() if not bool(values.isfinite().all())]
    if odd:
        raise DamagedEncoder(
            f"{WEIGHTS_NAME} holds values that are not numbers, in {len(odd)} weights ({odd[0]} "
            "first): the training that made it had diverged"
        )
    clip = _table(card.config, "clip")
    views = _table(card.config, "evaluation", "views")
    rate = _table(card.config, "pretext", "playback_rate")
    config = parse_config(
        {"clip": clip, "evaluation": {"views": views}, "pretext": {"playback_rate": rate}}
    )
    encoder = FrameEncoder(
        rebuild_encoder(card.encoder, weights),
        clip=config.clip,
        views=config.evaluation.views,
        rates=config.pretext.playback_rate.rate_list,
        card=card,
    )
    return encoder.eval()


def _table(config: Mapping[str, Any], *names: str) -> Mapping[str, Any]:
    """A table of a card's config, empty where that lacks it."""
    found: Any = config
    for place, name in enumerate(names):
        found = found.get(name, {})
        if not isinstance(found, Mapping):
            path = ".".join(names[: place + 1])
            raise DamagedEncoder(f"{CARD_NAME}: config.{path} is {found!r}, not a table")
    return found


def read_folder(uri: str, config: StoreConfig | None) -> dict[str, bytes]:
    """The files of the encoder in a folder of any store. Raises `UserError` where there is none."""
    place = uri.rstrip("/")
    for name in (CARD_NAME, WEIGHTS_NAME):  # whoever completes a path in a shell names a file
        place = place.removesuffix(f"/{name}")
    store = open_store(place, config)
    try:
        return {name: read_all(store, name) for name in (CARD_NAME, WEIGHTS_NAME)}
    except ObjectMissing as error:
        raise UserError(
            f"There is no encoder in {uri}: {error}; give the folder that holds {CARD_NAME} and "
            f"{WEIGHTS_NAME}, or a model of MLflow (models:/NAME@best)"
        ) from None


def _download(client: Any, model: Any, tracking_uri: str) -> dict[str, bytes]:
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")  # two small files
    repository = get_artifact_repository(model.artifact_location, tracking_uri=tracking_uri)
    names = {file.path for file in repository.list_artifacts()}
    if not names:
        root = client.get_experiment(model.experiment_id).artifact_location
        raise UserError(why_gone(model.artifact_location, root, tracking_uri))
    missing = {CARD_NAME, WEIGHTS_NAME} - names
    if missing:
        raise DamagedEncoder(
            f"{', '.join(sorted(missing))} missing at {model.artifact_location}; there "
            f"are: {', '.join(sorted(names))}"
        )
    with tempfile.TemporaryDirectory() as folder:
        return {
            name: Path(repository.download_artifacts(name, folder)).read_bytes()
            for name in (CARD_NAME, WEIGHTS_NAME)
        }


def why_gone(location: str, artifact_root: str, tracking_uri: str) -> str:
    """Why there is nothing at `location`, where MLflow recorded an encoder: the database was moved
    and its artifacts with it or not, or the encoder was deleted; and what to do.
    """
    said = f"MLflow at {tracking_uri} recorded the encoder at {location}, where there is nothing"
    recorded, root = _folder(location), _folder(artifact_root)
    if recorded is None or root is None:
        return f"{said}: its artifact store was moved or emptied; put the files back"
    database = sqlite_file(tracking_uri)
    beside = _beside(database, recorded) if database is not None else None
    if beside is not None:
        return f"This database was moved: {said}. The files are in {beside} now: load that folder"
    if root.is_dir():
        return f"{said}: it was deleted"
    return (
        f"This database was moved, or its artifacts were: {said}, and its artifact root {root} is "
        "gone. Put the artifacts back there, or load the folder that holds the encoder now"
    )


def _folder(uri: str) -> Path | None:
    """The folder of this machine that an artifact location is; None where it is none."""
    parts = urlsplit(uri)
    return Path(unquote(parts.path)) if parts.scheme in ("", "file") else None


def _beside(database: Path, recorded: Path) -> Path | None:
    """Where the files lie that were recorded at `recorded`, if they moved with the database."""
    tails = (Path(*recorded.parts[start:]) for start in range(1, len(recorded.parts)))
    found = (database.parent / tail for tail in tails)
    return next((folder for folder in found if (folder / WEIGHTS_NAME).is_file()), None)
