"""Lists of videos in JSON: Something-Something V2, Diving48, Kinetics and ActivityNet.

The first two are a list of objects, one for a video; the others name a subset and its annotations
by the video's identifier.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prp_core.data.table_text import read_table_text
from prp_core.documents import parse_json
from prp_core.errors import UserError

NAMES = ("id", "vid_name", "video", "filename", "key", "path")
LABELS = ("template", "label")  # a label of Something-Something names the things in the picture
PARTS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "validate": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}


@dataclass(frozen=True)
class Listed:
    """A video of a list; `label` is None where only its folder names the class, and `part` ""
    where nothing is stated.
    """

    name: str
    label: str | None
    part: str


def read_annotations(path: Path, part: str) -> list[Listed]:
    """The videos of the JSON file at `path`, in `part` unless it says otherwise itself.

    Raises `UserError`.
    """
    try:
        value = parse_json(read_table_text(path))
    except ValueError as error:
        raise UserError(f"{path} is not JSON: {error}") from None
    if isinstance(value, dict) and isinstance(value.get("database"), dict):
        value = value["database"]
    found: Iterator[Listed]
    if isinstance(value, list):
        found = (_of_record(path, place, one, part) for place, one in enumerate(value))
    elif isinstance(value, dict):
        found = (_of_clip(path, name, one, part) for name, one in value.items())
    else:
        raise UserError(f"{path} holds {str(value)[:40]!r}, not a list of videos")
    return list(found)


def _of_record(path: Path, place: int, record: Any, part: str) -> Listed:
    """An object that names its video."""
    fields = record if isinstance(record, Mapping) else {}
    name = _text(next((fields[key] for key in NAMES if key in fields), None))
    if not name:
        raise UserError(
            f"{path}: entry {place} is {str(record)[:60]!r}; it has to name its video, as one of "
            f"{', '.join(NAMES)}"
        )
    label = _text(next((fields[key] for key in LABELS if key in fields), None))
    return Listed(name, label.translate(str.maketrans("", "", "[]")) if label else None, part)


def _of_clip(path: Path, name: str, record: Any, part: str) -> Listed:
    """An object by its video's identifier; a clip of Kinetics has its times in its name."""
    fields = record if isinstance(record, Mapping) else {}
    stated = fields.get("annotations")
    one = stated[:1] if isinstance(stated, list) else [stated]
    annotations = stated if isinstance(stated, list) else one
    labels = {_text(each.get("label")) for each in annotations if isinstance(each, Mapping)}
    if len(labels) > 1:
        raise UserError(
            f"{path}: {name!r} has several labels; keep one for each video, or give a table "
            "with --labels"
        )
    if isinstance(stated, Mapping) and isinstance(segment := stated.get("segment"), list):
        try:
            start, end = (int(float(second)) for second in segment)
        except (TypeError, ValueError, OverflowError):
            raise UserError(f"{path}: {name!r} has the segment {segment!r}, no two times") from None
        name = f"{name}_{start:06d}_{end:06d}"
    subset = fields.get("subset") or ""
    if subset and str(subset).casefold() not in PARTS:
        raise UserError(
            f"{path}: {name!r} is in the subset {str(subset)[:60]!r}; it may be one of "
            f"{', '.join(PARTS)}"
        )
    stated_part = PARTS.get(str(subset).casefold(), part)
    return Listed(name, next(iter(labels), "") or None, stated_part)


def _text(value: Any) -> str:
    """A text or a whole number as a text; "" for anything else."""
    return str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""
