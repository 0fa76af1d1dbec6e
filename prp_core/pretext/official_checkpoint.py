"""Official checkpoints: weights of the method's authors, VCOP and SMP, loaded by their layer names.

Their files are bare state dicts, saved from a data-parallel wrapper. Nothing is loaded in part: an
encoder weight that the file lacks is an error, and so is a file without any encoder weight.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from prp_core.encoders import build_encoder
from prp_core.encoders.c3d import C3D
from prp_core.encoders.foreign_layouts import from_layout, to_layout
from prp_core.encoders.residual import ResidualEncoder
from prp_core.errors import UserError
from prp_core.pretext.network import PrpNetwork
from prp_core.tensor_file import load_tensors

Rules = tuple[tuple[str, str], ...]

HEAD_RULES: Rules = (
    (r"conv[56]_cls\.conv3d\.", "stems.playback_rate."),  # SMP calls them conv5_cls, conv5_rec
    (r"conv[56]_rec\.conv3d\.", "stems.slow_motion."),
    (r"fc8(_c5)?\.", "heads.playback_rate.linear."),
    (r"up([123])\.up3d\.", r"heads.slow_motion.up\1.up."),
    (r"up([123])\.conv3d\.conv3d\.", r"heads.slow_motion.up\1.conv."),
    (r"up4_1\.", "heads.slow_motion.up4."),
    (r"outc\.conv3d\.", "heads.slow_motion.out."),
)

C3D_RULES: Rules = (
    (r"conv(\d(?:_\d)?)\.conv3d\.([01])\.", r"conv\1.\2."),
    # VCOP: norms beside the convolutions, letters for numbers.
    (r"conv([345])a\.", r"conv\1_1.0."),
    (r"conv([345])b\.", r"conv\1_2.0."),
    (r"bn([345])a\.", r"conv\1_1.1."),
    (r"bn([345])b\.", r"conv\1_2.1."),
    (r"conv([12])\.(?=weight|bias)", r"conv\1.0."),
    (r"bn([12])\.", r"conv\1.1."),
)

RESIDUAL_RULES: Rules = (
    (r"conv1\.", "stem."),
    (r"bn1\.", "stem_norm."),
    (r"conv([2-5])\.block1\.conv([12])\.", r"stage\1.conv\2."),
    (r"conv([2-5])\.block1\.bn([12])\.", r"stage\1.norm\2."),
    (r"conv([3-5])\.block1\.downsampleconv\.", r"stage\1.shortcut.0."),
    (r"conv([3-5])\.block1\.downsamplebn\.", r"stage\1.shortcut.1."),
)

CONVOLUTION_PARTS = (
    ("temporal_spatial_conv.", ""),
    ("spatial_conv.", "spatial."),
    ("temporal_conv.", "temporal."),
    ("bn.", "norm."),
)

# A cycle branch of the first public version, SMP's classifiers on earlier stages, the classes of a
# fine-tuned network.
IGNORED = re.compile(r"base_network_cyc\.|fc8_cyc\.|conv[1-4]_cls\.|fc8_c[1-4]\.|linear\.")


@dataclass(frozen=True)
class LoadReport:
    """The weights of a checkpoint by what was done with them.

    `matched` and `missing` are names of the network; `unexpected` and `ignored` are the file's.
    """

    matched: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    ignored: tuple[str, ...]


def load_official_checkpoint(
    network: PrpNetwork | C3D | ResidualEncoder, checkpoint: Path | Mapping[str, torch.Tensor]
) -> LoadReport:
    """Copy the weights of `checkpoint` into `network`.

    Heads that the file lacks keep their values and are reported missing. The file's heads are
    ignored where `network` is a bare encoder, or has no such task. Raises `UserError` if the file
    cannot be read, if no or not every encoder weight is in it, or if a weight has another shape;
    `network` is then as it was.
    """
    weights = _read(checkpoint) if isinstance(checkpoint, Path) else checkpoint
    whole = network if isinstance(network, PrpNetwork) else _Alone(network)
    rules = _encoder_rules(whole.encoder)
    ours = whole.state_dict()
    found: dict[str, torch.Tensor] = {}
    unexpected = []
    ignored = []
    for official_name, tensor in weights.items():
        stripped = official_name.removeprefix("module.")
        name = our_name(stripped, rules)
        if name in ours:
            found[name] = tensor
        elif IGNORED.match(stripped) or (name and name.startswith(("stems.", "heads."))):
            ignored.append(official_name)
        else:
            unexpected.append(official_name)
    missing = tuple(
        name for name in ours if name not in found and not name.endswith(".num_batches_tracked")
    )
    _refuse_misfits(ours, found, missing, list(weights))
    whole.load_state_dict({**ours, **found})
    return LoadReport(tuple(found), missing, tuple(unexpected), tuple(ignored))


def read_published_encoder(
    path: Path, encoder: str, layout: str = "official"
) -> tuple[dict[str, torch.Tensor], LoadReport]:
    """(the weights of the encoder called `encoder`, what became of the file's weights), from a file
    whose names are those of `layout` (a key of `foreign_layouts.LAYOUTS`).

    The file's heads are ignored. Raises as `load_official_checkpoint` does.
    """
    network = build_encoder(encoder)
    weights = _read(path)
    if layout != "official":
        found, others = from_layout(layout, network.state_dict(), weights)
        classes = {name: re.sub(r"^fc\.", "linear.", name) for name in others}
        weights = {
            **to_layout("official", encoder, found),
            **{classes[name]: weights[name] for name in others},
        }
    report = load_official_checkpoint(network, weights)  # type: ignore[arg-type]
    return dict(network.state_dict()), report


def our_name(stripped: str, encoder_rules: Rules) -> str | None:
    """Our name for an official one without ``module.``; None where no rule applies.

    Encoder names come with ``base_network.`` (pretrained) or without (fine-tuned, VCOP).
    """
    for pattern, replacement in () if stripped.startswith("base_network.") else HEAD_RULES:
        if match := re.match(pattern, stripped):
            return match.expand(replacement) + stripped[match.end() :]
    bare = stripped.removeprefix("base_network.")
    for pattern, replacement in encoder_rules:
        if match := re.match(pattern, bare):
            rest = bare[match.end() :]
            for official_part, our_part in CONVOLUTION_PARTS:
                if rest.startswith(official_part):
                    rest = our_part + rest.removeprefix(official_part)
                    break
            return "encoder." + match.expand(replacement) + rest
    return None


class _Alone(nn.Module):
    """Wraps an encoder, so that its weights have the names that they have in a network."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder


def _encoder_rules(encoder: nn.Module) -> Rules:
    if isinstance(encoder, C3D):
        return C3D_RULES
    if isinstance(encoder, ResidualEncoder):
        return RESIDUAL_RULES
    raise UserError(
        f"No official checkpoint names are known for encoder {type(encoder).__name__}; "
        "known: c3d, r2plus1d, r3d"
    )


def _read(path: Path) -> Mapping[str, torch.Tensor]:
    """The file's state dict, read without running code from it."""
    try:
        weights = load_tensors(path)
    except ValueError as error:
        raise UserError(f"Cannot read checkpoint {str(path)!r}: {error}") from error
    if not (
        isinstance(weights, Mapping)
        and all(
            isinstance(name, str) and isinstance(value, torch.Tensor)
            for name, value in weights.items()
        )
    ):
        raise UserError(
            f"Checkpoint {str(path)!r} is not a bare state dict (names to tensors), as "
            "the official ones are"
        )
    return weights


def _refuse_misfits(
    ours: Mapping[str, torch.Tensor],
    found: Mapping[str, torch.Tensor],
    missing: tuple[str, ...],
    names: list[str],
) -> None:
    """Raise `UserError` unless every encoder weight was found, and each in our shape."""
    if not any(name.startswith("encoder.") for name in found):
        raise UserError(
            "No encoder weight of the checkpoint is ours; its names begin with "
            f"{', '.join(names[:3]) or 'nothing: it is empty'}"
        )
    lacking = [name for name in missing if name.startswith("encoder.")]
    if lacking:
        raise UserError(
            f"The checkpoint lacks {len(lacking)} encoder weights, {lacking[0]} first: "
            "is it another encoder's?"
        )
    for name, tensor in found.items():
        if tensor.shape != ours[name].shape:
            raise UserError(
                f"{name} has shape {tuple(tensor.shape)} in the checkpoint, "
                f"{tuple(ours[name].shape)} in the network"
            )
