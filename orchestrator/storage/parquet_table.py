"""Reading of a Parquet file that others may have written: checked whole before a row is used."""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow
import pyarrow.parquet

from prp_core.errors import UserError

# What pyarrow raises for damaged bytes, beside its own errors: its I/O error is Python's.
DAMAGE = (
    pyarrow.ArrowException,
    OSError,
    ValueError,
    TypeError,
    LookupError,
    OverflowError,
    MemoryError,
    RecursionError,
)


def read_table(
    data: bytes,
    schema: pyarrow.Schema,
    facts: Mapping[bytes, bytes],
    *,
    what: str,
    advice: str,
) -> pyarrow.Table:
    """The table of a Parquet file's bytes, which has `schema` and among its metadata `facts`.

    Offsets, texts and missing values are checked. Raises `UserError` for any other file, which says
    that `what` (a URI, and what should lie there) is not this, and ends with `advice`.
    """
    try:
        file = pyarrow.parquet.ParquetFile(pyarrow.BufferReader(data), pre_buffer=False)
        if not _is_ours(file.schema_arrow, schema, facts):
            raise UserError(f"{what} of this version, but another Parquet file; {advice}")
        table = file.read(use_threads=False)
        table.validate(full=True)
        _refuse_missing_values(table, schema)
    except UserError:
        raise
    except DAMAGE as error:
        words = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(f"{what}: {words[:200].rstrip('.')}; {advice}") from error
    return table


def _is_ours(found: pyarrow.Schema, schema: pyarrow.Schema, facts: Mapping[bytes, bytes]) -> bool:
    metadata = found.metadata or {}
    return (
        all(metadata.get(name) == value for name, value in facts.items())
        and found.names == schema.names
        and all(
            _is_same(ours.type, theirs.type) for ours, theirs in zip(schema, found, strict=True)
        )
    )


def _is_same(ours: pyarrow.DataType, theirs: pyarrow.DataType) -> bool:
    if pyarrow.types.is_list(ours):
        return pyarrow.types.is_list(theirs) and bool(ours.value_type == theirs.value_type)
    return bool(ours == theirs)


def _refuse_missing_values(table: pyarrow.Table, schema: pyarrow.Schema) -> None:
    for field in schema:
        column = table[field.name]
        lists = pyarrow.types.is_list(field.type)
        if (not field.nullable and column.null_count) or (
            lists and any(chunk.values.null_count for chunk in column.chunks)
        ):
            raise ValueError(f"column {field.name!r} lacks values")
