"""The files of an encoder: safetensors weights, and a JSON card with their digest.

Reading them executes nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from prp_core.documents import parse_json_object, record_from
from prp_core.errors import PrpError

CARD_NAME = "encoder.json"
WEIGHTS_NAME = "encoder.safetensors"
FORMAT = "prp-encoder-1"


class DamagedEncoder(PrpError):
    """An encoder's files are incomplete, of another format, or not those that were stored."""


@dataclass(frozen=True, kw_only=True)
class EncoderCard:
    """Metadata of an encoder: its architecture and its origin.

    `encoder` is a key of `prp_core.encoders.ENCODERS`; the rest is for a person.
    """

    encoder: str
    config: Mapping[str, Any] = field(default_factory=dict)
    dataset_hash: str = ""
    protocol_hash: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)
    provenance: Mapping[str, str] = field(default_factory=dict)


def pack(weights: Mapping[str, Any], card: EncoderCard) -> dict[str, bytes]:
    """The two files of an encoder, by name; `weights` is its `state_dict()`, on any device."""
    from safetensors.torch import save

    data = save(
        {name: tensor.detach().cpu().contiguous().clone() for name, tensor in weights.items()}
    )
    fields = {
        "format": FORMAT,
        **asdict(card),
        "weights": {"file": WEIGHTS_NAME, "num_bytes": len(data), "sha256": digest(data)},
    }
    return {CARD_NAME: json.dumps(fields, indent=2, sort_keys=True).encode(), WEIGHTS_NAME: data}


def pack_classifier(weights: Mapping[str, Any], labels: Sequence[str]) -> bytes:
    """The file of the linear layer after the global average pool, (classes, channels), with its
    classes in order.
    """
    from safetensors.torch import save

    linear = {name: tensor.detach().cpu() for name, tensor in weights.items()}
    return bytes(save(linear, metadata={"labels": json.dumps(labels)}))


def unpack(files: Mapping[str, bytes], card_sha256: str = "") -> tuple[EncoderCard, dict[str, Any]]:
    """The card and the tensors by name, on the CPU. Raises `DamagedEncoder` as `read_card` does."""
    card = read_card(files, card_sha256)
    from safetensors.torch import load

    try:
        return card, load(files[WEIGHTS_NAME])
    except Exception as error:
        raise DamagedEncoder(f"{WEIGHTS_NAME} cannot be read: {error}") from error


def read_card(files: Mapping[str, bytes], card_sha256: str = "") -> EncoderCard:
    """The card of an encoder's files, whose weights are not loaded.

    `card_sha256`, where given, is the card's digest that the tracker stored; the card holds that of
    the weights. Raises `DamagedEncoder` unless both are equal to the files'.
    """
    for name in (CARD_NAME, WEIGHTS_NAME):
        if name not in files:
            raise DamagedEncoder(
                f"{name} is missing; there are: {', '.join(sorted(files)) or 'no files'}"
            )
    if card_sha256 and digest(files[CARD_NAME]) != card_sha256:
        raise DamagedEncoder(
            f"{CARD_NAME} is not the one that was stored: its sha256 is "
            f"{digest(files[CARD_NAME])}, not {card_sha256}"
        )
    card, weights_sha256 = _read_card(files[CARD_NAME])
    found = digest(files[WEIGHTS_NAME])
    if found != weights_sha256:
        raise DamagedEncoder(
            f"{WEIGHTS_NAME} is not the one that was stored: its sha256 is {found}, "
            f"{CARD_NAME} says {weights_sha256}"
        )
    return card


def digest(data: bytes) -> str:
    """The sha256 of `data` in hex."""
    return hashlib.sha256(data).hexdigest()


def _read_card(data: bytes) -> tuple[EncoderCard, str]:
    try:
        fields = parse_json_object(data)
        if fields["format"] != FORMAT:
            raise DamagedEncoder(
                f"{CARD_NAME} has format {fields['format']!r}; this version reads {FORMAT!r}"
            )
        names = EncoderCard.__dataclass_fields__
        card = record_from(EncoderCard, {name: fields[name] for name in names})
        return card, str(fields["weights"]["sha256"])
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedEncoder(f"{CARD_NAME} cannot be read: {error!r}") from error
