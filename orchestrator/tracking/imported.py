"""Imported encoders: published checkpoints as this project's encoder files, and in MLflow."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.config.run_config import parse_config, to_tree
from orchestrator.tracking.encoder_file import CARD_NAME, WEIGHTS_NAME, EncoderCard, pack
from orchestrator.tracking.model_uri import MODEL_TAG
from orchestrator.tracking.models import log_encoder_files
from orchestrator.tracking.run_reporter import RunReporter
from orchestrator.tracking.tags import ROLE_TAG
from prp_core.data.object_store import LocalStore, read_all
from prp_core.errors import ObjectMissing, UserError

if TYPE_CHECKING:
    from prp_core.pretext.official_checkpoint import LoadReport

EXPERIMENT = "prp-imported"
CHECKPOINT_TAG = "prp.checkpoint_sha256"  # of the file, by which its run is found again
ALIASES = {"r21d": "r2plus1d", "r2p1d": "r2plus1d"}


@dataclass(frozen=True)
class ImportedEncoder:
    """An encoder out of a published checkpoint: its card and files, and what became of the
    checkpoint's weights.
    """

    card: EncoderCard
    files: dict[str, bytes]
    report: LoadReport
    num_parameters: int


def import_checkpoint(checkpoint: Path, encoder: str, layout: str = "official") -> ImportedEncoder:
    """The encoder in a file of the official code or of one that names its weights alike.

    `encoder` is c3d, r3d or r2plus1d; `layout` a key of `foreign_layouts.LAYOUTS`. Every weight of
    the encoder is in the file, or `UserError` is raised; no code of the file runs.
    """
    from prp_core.encoders.foreign_layouts import check_layout
    from prp_core.pretext.official_checkpoint import read_published_encoder

    name = ALIASES.get(encoder, encoder)
    check_layout(layout, name)
    weights, report = read_published_encoder(checkpoint, name, layout)
    card = EncoderCard(
        encoder=name,
        config=to_tree(parse_config({"encoder": {"name": name}})),
        provenance={
            "prp.source": f"{layout} checkpoint",
            "prp.checkpoint": checkpoint.name,
            CHECKPOINT_TAG: hashlib.sha256(checkpoint.read_bytes()).hexdigest(),
        },
    )
    buffers = ("running_mean", "running_var", "num_batches_tracked")
    num = sum(value.numel() for key, value in weights.items() if not key.endswith(buffers))
    return ImportedEncoder(card, pack(weights, card), report, num)


def write_encoder(found: ImportedEncoder, folder: Path) -> None:
    """Write the files of `found` into `folder`, the card last. Raises `UserError` where another
    encoder lies there.
    """
    store = LocalStore(folder)
    try:
        there = read_all(store, CARD_NAME)
    except ObjectMissing:
        there = found.files[CARD_NAME]
    if there != found.files[CARD_NAME]:
        raise UserError(f"{folder} holds another encoder; choose another place with --out")
    for name in (WEIGHTS_NAME, CARD_NAME):
        store.write(name, found.files[name])


def register_imported(found: ImportedEncoder, name: str, tracking_uri: str) -> str:
    """``models:/NAME/VERSION``: `found` as a version of the registered model `name`, below a run of
    the experiment ``prp-imported``. The same weights again are the same version; no alias moves.
    """
    logging.getLogger("mlflow").setLevel(logging.WARNING)  # it tells of its tables
    with RunReporter(
        tracking_uri,
        EXPERIMENT,
        key_tag=CHECKPOINT_TAG,
        key=found.card.provenance[CHECKPOINT_TAG],
        name=found.card.provenance["prp.checkpoint"],
        params={"encoder.name": found.card.encoder},
        tags={ROLE_TAG: "imported", **found.card.provenance},
    ) as run:
        model_id = run.told(
            lambda: log_encoder_files(
                run.client, run.run_id, found.files, name="encoder", metrics={}, step=0, tags={}
            )
        )
        return f"models:/{name}/{_version(run.client, model_id, name)}"


def _version(client: Any, model_id: str, name: str) -> str:
    try:
        client.create_registered_model(name)
    except Exception as error:
        if getattr(error, "error_code", None) != "RESOURCE_ALREADY_EXISTS":
            raise
    for version in client.search_model_versions(f"name='{name}'"):
        if version.tags.get(MODEL_TAG) == model_id:
            return str(version.version)
    model = client.get_logged_model(model_id)
    created = client.create_model_version(
        name,
        model.artifact_location,
        run_id=model.source_run_id,
        tags={MODEL_TAG: model_id},
        model_id=model_id,
    )
    return str(created.version)
