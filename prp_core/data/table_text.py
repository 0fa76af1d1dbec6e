"""The text of a table or list that a user gives, and its rows: UTF-8, or UTF-16 with a mark."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path

from prp_core.errors import UserError

UTF_16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
SEPARATORS = ",;\t"
SEPARATOR_LINE = re.compile(r"sep=[,;\t|]\s*\Z", re.IGNORECASE)  # Excel's


def read_table_text(path: Path) -> str:
    """The text of the file at `path`. Raises `UserError` where it is neither."""
    data = path.read_bytes()
    try:
        return data.decode("utf-16" if data[:2] in UTF_16_MARKS else "utf-8-sig")
    except UnicodeDecodeError as error:
        byte = data[error.start : error.start + 1]
        raise UserError(
            f"{path} is not a text file in UTF-8 (byte {byte!r} at {error.start}); save it as UTF-8"
        ) from None


def table_rows(path: Path, columns: Sequence[str]) -> list[tuple[int, dict[str, str]]] | None:
    """(line, cells by column) of each row of the CSV table at `path`, as programs of every land
    write them: between commas, semicolons or tabs, in quotes or not, with ``sep=;`` before it.

    The first row names columns, in any case; None where the first of `columns` and any of the
    others are not among them, each once. Cells that a row lacks are empty. Raises `UserError`, also
    for a row with more cells, and `csv.Error`.
    """
    text = read_table_text(path)
    first, _, rest = text.partition("\n")
    skipped = 0
    if SEPARATOR_LINE.fullmatch(first.strip("\r")):
        text = rest
        skipped = 1
    for separator in SEPARATORS:
        reader = csv.reader(
            io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True
        )
        names = [name.strip().casefold() for name in next(reader, [])]
        if columns[0] in names and set(names) & set(columns[1:]) and len(set(names)) == len(names):
            rows = []
            for row in filter(None, reader):
                line = reader.line_num + skipped
                if any(row[len(names) :]):  # a separator in a cell would cut it short
                    raise UserError(
                        f"{path}, line {line}: {len(row)} cells, and the first line names "
                        f"{len(names)} columns; put a cell with {separator!r} in it in quotes"
                    )
                rows.append((line, dict(zip(names, row, strict=False))))
            return rows
    return None
