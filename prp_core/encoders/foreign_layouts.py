"""Foreign layouts: what other code calls the weights of an encoder, official and torchvision's.

A layout is a one-to-one map of names; no value changes. torchvision builds the published R3D as
``VideoResNet(BasicBlock, [Conv3DSimple] * 4, [1, 1, 1, 1], BasicStem)``; it has no C3D, and its
R(2+1)D has other widths and whole convolutions in the shortcuts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from prp_core.catalogue import look_up
from prp_core.encoders import ENCODERS
from prp_core.errors import UserError

if TYPE_CHECKING:  # a command line checks names where torch is not loaded
    import torch

OFFICIAL_PREFIX = "module.base_network."
"""Before every encoder weight of a pretraining checkpoint; the official fine-tuning reads no other
names.
"""

Rules = tuple[tuple[str, str], ...]

OFFICIAL_RULES: Rules = (
    (r"(conv\d(?:_\d)?)\.([01])\.(.+)", r"\1.conv3d.\2.\3"),  # C3D
    (r"stem_norm\.(.+)", r"bn1.\1"),
    (r"stem\.(.+)", r"conv1.\1"),
    (r"stage(\d)\.norm(\d)\.(.+)", r"conv\1.block1.bn\2.\3"),
    (r"stage(\d)\.conv(\d)\.(.+)", r"conv\1.block1.conv\2.\3"),
    (r"stage(\d)\.shortcut\.1\.(.+)", r"conv\1.block1.downsamplebn.\2"),
    (r"stage(\d)\.shortcut\.0\.(.+)", r"conv\1.block1.downsampleconv.\2"),
)
OFFICIAL_CONVOLUTIONS: Rules = (
    (r"(conv1|.+\.conv\d|.+\.downsampleconv)\.weight", r"\1.temporal_spatial_conv.weight"),
    (r"(conv1|.+\.conv\d|.+\.downsampleconv)\.spatial\.weight", r"\1.spatial_conv.weight"),
    (r"(conv1|.+\.conv\d|.+\.downsampleconv)\.temporal\.weight", r"\1.temporal_conv.weight"),
    (r"(conv1|.+\.conv\d|.+\.downsampleconv)\.norm\.(.+)", r"\1.bn.\2"),
)
STAGE = re.compile(r"stage(\d)\.(.+)")
TORCHVISION_RULES: Rules = (
    (r"stem\.(weight)", r"stem.0.\1"),
    (r"stem_norm\.(.+)", r"stem.1.\1"),
    (r"conv(\d)\.(weight)", r"conv\1.0.\2"),
    (r"norm(\d)\.(.+)", r"conv\1.1.\2"),
    (r"shortcut\.(.+)", r"downsample.\1"),
)


def official_name(name: str) -> str:
    """The official name, with its prefix, of our weight `name` of a published encoder."""
    renamed = _renamed(name, OFFICIAL_RULES)
    return OFFICIAL_PREFIX + (_renamed(renamed, OFFICIAL_CONVOLUTIONS, missing=renamed))


def torchvision_name(name: str) -> str:
    """torchvision's name of our weight `name` of R3D."""
    stage = STAGE.fullmatch(name)
    if stage is None:
        return _renamed(name, TORCHVISION_RULES)
    return f"layer{int(stage[1]) - 1}.0.{_renamed(stage[2], TORCHVISION_RULES)}"


LAYOUTS: dict[str, Callable[[str], str]] = {
    "official": official_name,
    "torchvision": torchvision_name,
}
ENCODERS_OF_LAYOUT = {
    "official": ("c3d", "r3d", "r2plus1d"),
    "torchvision": ("r3d",),
}
WHY_NOT = {
    "official": "the official code has the published widths only",
    "torchvision": "torchvision has no C3D, no narrow R3D, and an R(2+1)D of other widths",
}


def check_layout(layout: str, encoder: str) -> None:
    """Raise `UserError` where code of `layout` cannot build `encoder`."""
    look_up("layout", layout, LAYOUTS)
    look_up("encoder", encoder, ENCODERS)
    if encoder not in ENCODERS_OF_LAYOUT[layout]:
        raise UserError(
            f"Encoder {encoder!r} has no {layout} layout ({WHY_NOT[layout]}); those that have: "
            f"{', '.join(ENCODERS_OF_LAYOUT[layout])}"
        )


def to_layout(
    layout: str, encoder: str, weights: Mapping[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """`weights` of the encoder called `encoder` by their names in `layout`, a key of `LAYOUTS`.

    Raises `UserError` as `check_layout` does.
    """
    check_layout(layout, encoder)
    return {LAYOUTS[layout](name): tensor for name, tensor in weights.items()}


def from_layout(
    layout: str, names: Iterable[str], weights: Mapping[str, torch.Tensor]
) -> tuple[dict[str, torch.Tensor], tuple[str, ...]]:
    """(the weights by those of our `names` that are there, the names that none of ours is)."""
    ours = {LAYOUTS[layout](name): name for name in names}
    found = {ours[name]: tensor for name, tensor in weights.items() if name in ours}
    return found, tuple(name for name in weights if name not in ours)


def _renamed(name: str, rules: Rules, missing: str | None = None) -> str:
    for pattern, replacement in rules:
        if match := re.fullmatch(pattern, name):
            return match.expand(replacement)
    assert missing is not None, name
    return missing
