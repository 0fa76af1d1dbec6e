"""Lists of videos as code releases publish them: CoCLR, VideoMAE, PySlowFast, mmaction2, Kinetics.

There is a file for each part (``train.csv``, ``ucf101_val_split_1_videos.txt``), with a line for a
video: its path, and numbers behind it. Kinetics' own tables have a header and name YouTube clips.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from prp_core.errors import UserError

LIST_FILE = re.compile(
    r"(?:.+[_-])?(?P<part>train|val|validate|validation|test)(?:_list)?"
    r"(?:_split_?0*(?P<split>\d+))?(?:_(?:videos|rawframes))?\.(?:csv|txt)",
    re.IGNORECASE,
)
PART_OF_NAME = {"validate": "val", "validation": "val"}
# A video's file and what follows it: a class in words, or more labels than one.
VIDEO_LINE = re.compile(
    r"(?P<path>.+?\.(?:mp4|avi|webm|mkv|mov|m4v|mpe?g|flv|wmv|3gp))\"?[,;\s]\s*(?P<rest>.*\S)\s*",
    re.IGNORECASE,
)
MOST_NUMBERS_OF_A_VIDEO = 2  # frames and a label
MOST_NUMBERS = 3  # of a folder of frames: the first frame before these
MOST_CHARACTERS = 6000  # of a line: a path has at most 4,096 bytes


@dataclass(frozen=True)
class Listed:
    """A video of a list; `label` is None where only its folder names the class."""

    name: str
    label: str | None
    part: str


def read_lists(folder: Path, split: int) -> list[Listed]:
    """The videos of split `split` that the lists in `folder` name; files without a number count.

    The same list for "val" and "test" is the test: nothing else may guide a search. Numbers are
    labels unless each stands for one folder of the paths, which then names the class, or they are
    counts of frames. Raises `UserError`.
    """
    found: dict[str, list[Listed]] = {}
    for path in sorted(folder.iterdir()):
        match = LIST_FILE.fullmatch(path.name)
        if match and int(match["split"] or split) == split:
            part = PART_OF_NAME.get(match["part"].lower(), match["part"].lower())
            found.setdefault(part, []).extend(_read(path, part))
    names = {part: {video.name for video in videos} for part, videos in found.items()}
    if "test" in names and names.get("val") == names["test"]:
        del found["val"]
    listed = [video for videos in found.values() for video in videos]
    return _without_numbers(listed) if _numbers_are_no_labels(listed) else listed


def _read(path: Path, part: str) -> Iterator[Listed]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise UserError(f"{path} is not a text file") from None
    if lines and "youtube_id" in lines[0].split(","):
        yield from _read_kinetics(path, lines, part)
        return
    for line in filter(None, map(str.strip, lines)):
        if len(line) > MOST_CHARACTERS:
            raise UserError(
                f"{path}: {line[:40]!r}... has {len(line)} characters: it is not a list of paths"
            )
        video = VIDEO_LINE.fullmatch(line)
        words = re.split(r"[,\s]+", video["rest"]) if video else []
        if video and not all(word.isdigit() for word in words):
            yield Listed(video["path"].strip(' "'), video["rest"].strip('"'), part)
            continue
        if len(words) > MOST_NUMBERS_OF_A_VIDEO:
            raise UserError(
                f"{path}: {line!r} has several labels; keep one for each video, or give a "
                "table with --labels"
            )
        name, numbers = _without_last_numbers(line)
        is_folder = name.endswith("/") or len(numbers) > 1
        label = numbers[-1] if numbers and not (is_folder and len(numbers) == 1) else None
        yield Listed(name.strip(' "'), label, part)


def _without_last_numbers(line: str) -> tuple[str, list[str]]:
    """(`line` without the numbers at its end, those: at most three)."""
    numbers: list[str] = []
    while len(numbers) < MOST_NUMBERS:
        head = line.rstrip("0123456789")
        name = head.rstrip(", \t")
        if head == line or name in ("", head):
            break
        numbers.insert(0, line[len(head) :])
        line = name
    return line, numbers


def _read_kinetics(path: Path, lines: list[str], part: str) -> Iterator[Listed]:
    for number, row in enumerate(_rows(path, lines), start=2):
        try:
            start, end = int(float(row["time_start"])), int(float(row["time_end"]))
        except (KeyError, TypeError, ValueError, OverflowError):
            raise UserError(
                f"{path}, line {number}: no time_start and time_end of a clip"
            ) from None
        yield Listed(f"{row['youtube_id']}_{start:06d}_{end:06d}", row.get("label") or None, part)


def _rows(path: Path, lines: list[str]) -> Iterator[dict[str, str]]:
    try:
        yield from csv.DictReader(lines)
    except csv.Error as error:
        raise UserError(f"{path} cannot be read as a CSV table: {error}") from None


def _numbers_are_no_labels(listed: Iterable[Listed]) -> bool:
    """Whether each label is a number that stands for one folder, and each folder has one."""
    pairs = {
        (video.label, video.name.rstrip("/").rpartition("/")[0])
        for video in listed
        if video.label is not None
    }
    labels = {label for label, _ in pairs}
    folders = {folder for _, folder in pairs}
    return all((label or "").isdigit() for label in labels) and (
        len(pairs) == len(labels) == len(folders) and "" not in folders
    )


def _without_numbers(listed: list[Listed]) -> list[Listed]:
    return [Listed(video.name, None, video.part) for video in listed]
