"""The initial encoder of a study's trials: found, checked, and copied to where every node reads it.

Reading it needs neither torch nor, for a folder, MLflow.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestrator.config.sweep_spec import home_dir
from orchestrator.storage.open_store import open_store
from orchestrator.sweep.settings import default_mlflow, store_of
from orchestrator.tracking.encoder_file import CARD_NAME, WEIGHTS_NAME, digest, read_card
from orchestrator.tracking.models import read_encoder_files
from orchestrator.tracking.tracking_uri import default_tracking_uri
from prp_core.errors import UserError

FOLDER = "encoders"
NUM_DIGITS = 16


def with_initial_encoder(
    options: Mapping[str, Any], encoder: str | None, *, copies: bool
) -> dict[str, Any]:
    """`options` with ``--init-from`` replaced by the folder in the sweep's storage that holds that
    encoder; copied there where `copies`, under the digest of its weights.

    An alias that moves later changes nothing. `encoder` is the one that the config names, None
    where the sweep has been checked. Raises `UserError` where there is no such encoder, or it is of
    another architecture.
    """
    uri = options.get("init_from")
    if not uri:
        return dict(options)
    mlflow = options.get("mlflow") or default_mlflow() or default_tracking_uri(home_dir())
    config = store_of(options)
    files, card_sha256 = read_encoder_files(uri, mlflow, store=config)
    card = read_card(files, card_sha256)
    if encoder not in (None, card.encoder):
        raise UserError(
            f"--init-from gives the weights of {card.encoder!r}, and encoder.name is {encoder!r}; "
            f"train the same encoder: --set encoder.name={card.encoder}"
        )
    storage = options.get("storage") or str(home_dir())
    place = f"{storage}/{FOLDER}/{digest(files[WEIGHTS_NAME])[:NUM_DIGITS]}"
    if copies:
        store = open_store(place, config)
        for name in (WEIGHTS_NAME, CARD_NAME):
            store.write(name, files[name])
    return {**options, "init_from": place}
