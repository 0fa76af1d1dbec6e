"""Labels, groups and splits that a user gives beside the videos: split files or a CSV table."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from prp_core.data.manifest import SPLITS
from prp_core.data.split_lists import read_list
from prp_core.data.splits import Labelling, read_split_files, table_of
from prp_core.data.table_text import read_table_text, table_rows
from prp_core.errors import UserError

MOST_CHARACTERS_SHOWN = 200
LABEL_COLUMNS = ("label", "group", "split")


@dataclass(frozen=True, kw_only=True)
class LabelSource:
    """Where labels, groups and splits come from; by default from the videos' keys alone."""

    splits_dir: str | Path | None = None
    """A folder with split files or lists that `read_split_files` knows."""
    split: int = 1
    """Which of the numbered splits in `splits_dir` is taken."""
    labels_csv: str | Path | None = None
    """A CSV table with the column ``key`` and any of ``label``, ``group``, ``split``, or a list of
    videos with a label behind each, as `read_split_files` reads them, also in JSON.
    """

    def table(self) -> dict[str, Labelling]:
        """What is stated, by key; empty where nothing is. Raises `UserError`."""
        if self.splits_dir and self.labels_csv:
            raise UserError(
                f"Give split files ({self.splits_dir}) or a table of labels ({self.labels_csv}), "
                "not both; the table has a column for splits"
            )
        if self.splits_dir:
            return read_split_files(self.splits_dir, self.split)
        return read_label_table(Path(self.labels_csv)) if self.labels_csv else {}


def read_label_table(path: Path) -> dict[str, Labelling]:
    """The table of a CSV file: the column ``key`` and any of ``label``, ``group``, ``split``.

    An empty cell states nothing. A file without that header may be a list of videos, a path and a
    label in each line. Raises `UserError` that names the line.
    """
    try:
        if listed := read_list(path):
            return table_of(listed, path)
        rows = table_rows(path, ("key", *LABEL_COLUMNS))
        if rows is None:
            first = read_table_text(path).partition("\n")[0].rstrip("\r")
            raise UserError(
                f"{path}: its first line is {first[:MOST_CHARACTERS_SHOWN]!r}; "
                "it must name the column key and some of label, group, split, "
                "or be a video's path and its label"
            )
        table: dict[str, Labelling] = {}
        for line, row in rows:
            _add_row(table, row, f"{path}, line {line}")
        return table
    except FileNotFoundError:
        raise UserError(f"{path}: no such table of labels") from None
    except (OSError, csv.Error) as error:
        raise UserError(f"{path} cannot be read as a CSV table: {error}") from error


def _add_row(table: dict[str, Labelling], row: Mapping[str, str], where: str) -> None:
    key = (row.get("key") or "").strip()
    if not key:
        raise UserError(f"{where}: the key is empty")
    cells = {name: (row.get(name) or "").strip() or None for name in LABEL_COLUMNS}
    if cells["split"] not in (None, *SPLITS):
        raise UserError(f"{where}: split {cells['split']!r}; write train, val, test or nothing")
    if table.setdefault(key, Labelling(**cells)) != Labelling(**cells):
        raise UserError(f"{where}: {key!r} is listed a second time with other values")
