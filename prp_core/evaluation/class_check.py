"""Check of a retrieval's classes: both parts have videos, each of them a class, some in common."""

from __future__ import annotations

from collections.abc import Sequence

from prp_core.data.manifest import VideoRecord
from prp_core.errors import UnsuitableClasses


def check_labels(gallery: Sequence[VideoRecord], queries: Sequence[VideoRecord]) -> None:
    """Raise `UnsuitableClasses` for an empty part, a video without a class, and none in common."""
    for name, part in (("gallery", gallery), ("query", queries)):
        unlabelled = [record.key for record in part if record.label is None]
        if not part or unlabelled:
            example = f", for example {unlabelled[0]!r} has none" if unlabelled else ""
            raise UnsuitableClasses(
                f"retrieval needs videos with a class: {len(part) - len(unlabelled)} of "
                f"{len(part)} {name} videos have one{example}; put some "
                "videos into class folders, or index them with a table of labels (training takes "
                "those without a class, too)"
            )
    known = {record.label for record in gallery}
    if not any(record.label in known for record in queries):
        raise UnsuitableClasses(
            f"no query's class is among the gallery's {len(known)} classes: nothing can "
            "be retrieved; check labels and splits"
        )
