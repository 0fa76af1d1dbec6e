"""Lists of videos as code releases publish them: CoCLR, VideoMAE, PySlowFast, mmaction2, Kinetics.

There is a file for each part (``train.csv``, ``ucf101_val_split_1_videos.txt``), with a line for a
video: its path, and numbers behind it. Kinetics' own tables have a header and name YouTube clips.
Lists in JSON are `annotation_files`.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from prp_core.data.annotation_files import Listed, read_annotations
from prp_core.data.table_text import read_table_text
from prp_core.errors import UserError

LIST_FILE = re.compile(
    r"(?:.+[_-])?(?P<part>train|val|validate|validation|test)(?:_list)?"
    r"(?:_split_?0*(?P<split>\d+))?(?:_(?:videos?|rawframes))?\.(?:csv|txt|json)",
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
LAST_NUMBER = re.compile(r"(?P<name>.*\S)[,\s]\s*(?P<number>-?\d+)")
COMMENT = "# "
JSON = ".json"
MOST_CHARACTERS = 6000  # of a line: a path has at most 4,096 bytes


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
            found.setdefault(_part(match), []).extend(_read(path, _part(match)))
    names = {part: {video.name for video in videos} for part, videos in found.items()}
    if "test" in names and names.get("val") == names["test"]:
        del found["val"]
    listed = [video for videos in found.values() for video in videos]
    return _without_numbers(listed) if _numbers_are_no_labels(listed) else listed


def read_list(path: Path) -> list[Listed]:
    """The videos of one list; `part` is "" unless the file's name states it.

    Empty where its first line is not a video's file and something behind it. Raises `UserError`.
    """
    match = LIST_FILE.fullmatch(path.name)
    if path.suffix.lower() == JSON:
        return read_annotations(path, _part(match) if match else "")
    first = next((line for line in read_table_text(path).splitlines() if _is_entry(line)), "")
    if not VIDEO_LINE.fullmatch(first.strip()):
        return []
    listed = list(_read(path, _part(match) if match else ""))
    return _without_numbers(listed) if _numbers_are_no_labels(listed) else listed


def _part(match: re.Match[str]) -> str:
    return PART_OF_NAME.get(match["part"].lower(), match["part"].lower())


def _is_entry(line: str) -> bool:
    return bool(line.strip()) and not line.startswith(COMMENT)


def _read(path: Path, part: str) -> Iterator[Listed]:
    if path.suffix.lower() == JSON:
        yield from read_annotations(path, part)
        return
    lines = read_table_text(path).splitlines()
    if lines and "youtube_id" in lines[0].split(","):
        yield from _read_kinetics(path, lines, part)
        return
    entries = [_entry(path, line.strip()) for line in lines if _is_entry(line)]
    has_labels = not _counts_frames(entries)
    for entry in entries:
        label = entry.words or (_label(entry) if has_labels else None)
        yield Listed(entry.name.strip(' "'), label, part)


@dataclass(frozen=True)
class _Entry:
    """A line: a name, and either the class in `words` or the `numbers` behind the name."""

    name: str
    is_video: bool
    words: str | None = None
    numbers: tuple[str, ...] = ()

    @property
    def has_negative(self) -> bool:
        """Whether a number says that there is none."""
        return any(number.startswith("-") for number in self.numbers)


def _entry(path: Path, line: str) -> _Entry:
    if len(line) > MOST_CHARACTERS:
        raise UserError(
            f"{path}: {line[:40]!r}... has {len(line)} characters: it is not a list of paths"
        )
    video = VIDEO_LINE.fullmatch(line)
    words = re.split(r"[,\s]+", video["rest"]) if video else []
    if video and not all(re.fullmatch(r"-?\d+", word) for word in words):
        return _Entry(video["path"], True, words=video["rest"].strip('"'))
    name, numbers = _without_last_numbers(line)
    entry = _Entry(name, video is not None, numbers=tuple(numbers))
    if len(words) > MOST_NUMBERS_OF_A_VIDEO and not entry.has_negative:
        raise UserError(
            f"{path}: {line!r} has several labels; keep one for each video, or give a "
            "table with --labels"
        )
    return entry


def _counts_frames(entries: Sequence[_Entry]) -> bool:
    """Whether the numbers are a first frame and how many there are, as VideoMAE lists videos to
    learn from without labels: -1 frames for a video that is decoded.
    """
    pairs = [entry for entry in entries if len(entry.numbers) > 1]
    folders = [entry.numbers for entry in pairs if not entry.is_video]
    return any(entry.has_negative for entry in pairs) or (
        len(folders) > 1
        and all(len(numbers) == 2 and numbers[0] in ("0", "1") for numbers in folders)
    )


def _label(entry: _Entry) -> str | None:
    """The last number, where there is one beside the count of a folder's frames; -1 is none."""
    is_folder = not entry.is_video and (entry.name.endswith("/") or len(entry.numbers) > 1)
    if len(entry.numbers) <= is_folder or entry.numbers[-1].startswith("-"):
        return None
    return entry.numbers[-1]


def _without_last_numbers(line: str) -> tuple[str, list[str]]:
    """(`line` without the numbers at its end, those: at most three)."""
    numbers: list[str] = []
    while len(numbers) < MOST_NUMBERS and (found := LAST_NUMBER.fullmatch(line)):
        numbers.insert(0, found["number"])
        line = found["name"].rstrip(", \t")
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
