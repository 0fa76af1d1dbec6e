"""Labels, groups and splits from tables: UCF101's and HMDB51's split files, as distributed.

A table maps a video's key, or the end of it (``class/file``), to what is stated of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from prp_core.data.annotation_files import Listed
from prp_core.data.folder_layout import FolderLayout
from prp_core.data.split_lists import read_lists
from prp_core.data.table_match import match_table
from prp_core.data.table_text import read_table_text
from prp_core.errors import UserError

UCF101_FILE = re.compile(r"(?P<part>train|test)list(?P<split>\d+)\.txt")
HMDB51_FILE = re.compile(r"(?P<label>.+)_test_split(?P<split>\d+)\.txt")
PLAIN_LAYOUT = FolderLayout()
HMDB51_SPLITS = {"0": "", "1": "train", "2": "test"}

UCF101_NAME = re.compile(r"v_\w+_g(?P<group>\d+)_c\d+")
# HMDB51: movie, class, visible body part, camera motion, people, side, quality, number.
HMDB51_TAIL = r"_[a-z]_(?:cm|nm)_np\d_(?:fr|ba|le|ri)_(?:goo|med|bad)_\d+"


@dataclass(frozen=True)
class Labelling:
    """What a table states of one video; None where it states nothing, and the key decides."""

    label: str | None = None
    group: str | None = None
    split: str | None = None


def labelling_of(
    key: str, table: Mapping[str, Labelling], layout: FolderLayout = PLAIN_LAYOUT
) -> Labelling:
    """The label, group and split of the video `key`.

    The label is None for a file outside any folder, and where neither the table nor a folder of
    `layout` states it. A split that the table states counts, also "" (unused), before a folder's.
    """
    return resolved(key, table[name] if (name := _name_of(key, table)) else Labelling(), layout)


def labellings(
    keys: Iterable[str], table: Mapping[str, Labelling], layout: FolderLayout
) -> dict[str, Labelling]:
    """As `labelling_of`, for every key of a corpus."""
    keys = tuple(keys)
    names, _ = match_table(table, keys)
    return {
        key: resolved(key, table[names[key]] if key in names else Labelling(), layout)
        for key in keys
    }


def resolved(key: str, said: Labelling, layout: FolderLayout) -> Labelling:
    """What is `said` of `key`, completed by what its name and its folders state."""
    label = said.label if said.label is not None else layout.label(key)
    group = said.group if said.group is not None else group_of(key, label)
    split = said.split if said.split is not None else layout.split(key)
    return Labelling(label, group, split)


def _name_of(key: str, table: Mapping[str, Labelling]) -> str:
    return match_table(table, (key,))[0].get(key, "")


def relative_to_store(table: Mapping[str, Labelling], uri: str) -> dict[str, Labelling]:
    """`table` with keys relative to the store at `uri`, without its URI or its prefix."""
    place = re.sub(r"^[a-z0-9]+://", "", uri).rstrip("/")
    prefix = place.partition("/")[2]
    heads = [f"{head}/" for head in (uri.rstrip("/"), prefix) if head]
    return {
        next((name.removeprefix(head) for head in heads if name.startswith(head)), name): said
        for name, said in table.items()
    }


def group_of(key: str, label: str | None) -> str:
    """The group that must stay in one part: UCF101's of a class, HMDB51's film, else the video."""
    stem = key.rpartition("/")[2].rpartition(".")[0]
    if match := UCF101_NAME.fullmatch(stem):
        # Without a class the name, which has one, keeps the scenes of two classes apart.
        return f"{label}/g{match['group']}" if label else stem.rpartition("_c")[0]
    if label and (match := re.fullmatch(rf"(?P<film>.+)_{re.escape(label)}{HMDB51_TAIL}", stem)):
        return match["film"]
    return key


def unmatched(table: Mapping[str, Labelling], keys: Iterable[str]) -> tuple[str, ...]:
    """The table's entries that match none of `keys`: videos that the corpus lacks."""
    return tuple(sorted(match_table(table, keys)[1]))


def read_split_files(folder: Path | str, split: int) -> dict[str, Labelling]:
    """The table of split `split` (from 1) that the files in `folder` describe.

    UCF101: ``trainlist01.txt``, ``testlist01.txt``; HMDB51: ``<class>_test_split1.txt``, whose 0
    means unused; else lists as `split_lists` reads them. Raises `UserError`.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder of split files")
    names = sorted(path.name for path in folder.iterdir())
    for pattern, read in ((UCF101_FILE, _read_ucf101), (HMDB51_FILE, _read_hmdb51)):
        matches = [match for match in map(pattern.fullmatch, names) if match]
        if not matches:
            continue
        chosen = [match for match in matches if int(match["split"]) == split]
        if not chosen:
            there = ", ".join(sorted({str(int(match["split"])) for match in matches}))
            raise UserError(f"{folder}: no split {split}; there is {there}")
        return read(folder, chosen)
    if listed := read_lists(folder, split):
        return table_of(listed, folder)
    raise UserError(
        f"{folder}: no split files of UCF101 (trainlist01.txt, testlist01.txt), "
        f"HMDB51 (<class>_test_split1.txt) or lists of split {split} (train.csv, val.csv, "
        "test.csv; also .txt and .json)"
    )


def table_of(listed: Iterable[Listed], source: Path) -> dict[str, Labelling]:
    """The table that the lists at `source` state; a part "" states nothing. Raises `UserError`."""
    table: dict[str, Labelling] = {}
    for video in listed:
        said = Labelling(video.label, None, video.part or None)
        if table.setdefault(video.name, said) != said:
            raise UserError(
                f"{source}: {video.name!r} is listed in {table[video.name].split!r} with label "
                f"{table[video.name].label!r}, and in {said.split!r} with {said.label!r}"
            )
    return table


def _read_ucf101(folder: Path, files: list[re.Match[str]]) -> dict[str, Labelling]:
    parts = {match["part"] for match in files}
    if parts != {"train", "test"}:
        raise UserError(
            f"{folder}: {files[0][0]} has no counterpart; a split needs both trainlist and testlist"
        )
    table: dict[str, Labelling] = {}
    spelt: dict[str, str] = {}  # HandstandPushups in one list, HandStandPushups in another
    for match in files:
        for number, words in _lines(folder / match[0]):
            key = words[0].removeprefix("./")
            if "/" not in key:
                raise UserError(f"{folder / match[0]}, line {number}: {key!r} is not 'class/file'")
            label = key.split("/")[-2]
            _add(
                table,
                key,
                Labelling(spelt.setdefault(label.casefold(), label), None, match["part"]),
                folder / match[0],
                number,
            )
    return table


def _read_hmdb51(folder: Path, files: list[re.Match[str]]) -> dict[str, Labelling]:
    table: dict[str, Labelling] = {}
    for match in files:
        for number, words in _lines(folder / match[0]):
            if len(words) != 2 or words[1] not in HMDB51_SPLITS:
                raise UserError(
                    f"{folder / match[0]}, line {number}: {' '.join(words)!r} "
                    "is not 'file 0', 'file 1' or 'file 2'"
                )
            key = f"{match['label']}/{words[0]}"
            _add(
                table,
                key,
                Labelling(match["label"], None, HMDB51_SPLITS[words[1]]),
                folder / match[0],
                number,
            )
    return table


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    for number, line in enumerate(read_table_text(path).splitlines(), start=1):
        if words := line.split():
            yield number, words


def _add(
    table: dict[str, Labelling], key: str, labelling: Labelling, path: Path, number: int
) -> None:
    if table.setdefault(key, labelling) != labelling:
        raise UserError(f"{path}, line {number}: {key} is in split {table[key].split!r} already")
