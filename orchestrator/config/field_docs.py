"""The documentation of every config field: path, type, default, and the sentence below the field.

A sentence is the string literal that follows a field of a config class (an attribute docstring, as
PEP 257 calls it); it says what the value means, with its unit, its range and what 0 or "" stand
for.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import inspect
import typing
from collections.abc import Iterator
from dataclasses import MISSING, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from orchestrator.config.run_config import RunConfig, table_of


@dataclass(frozen=True)
class FieldDoc:
    """A field of the config tree.

    `type` is its annotation as written. `default` is a plain value; of a table (`is_table`) it is
    None where the table is off unless it is written, else an empty dict. `sentence` is the string
    literal below the field as one line, empty where there is none.
    """

    type: str
    default: Any
    sentence: str
    is_table: bool = False


def field_docs(config_class: type = RunConfig) -> dict[str, FieldDoc]:
    """Dotted path -> documentation, for every table and value below the dataclass `config_class`.

    Fields come in the order of the tree, a table before its own fields.
    """
    return dict(_docs(config_class, ""))


UNITS_BY_LAST_WORD = {
    "seconds": "seconds",
    "minutes": "minutes",
    "hours": "hours",
    "bytes": "bytes",
    "gib": "GiB",
    "pixels": "pixels",
    "epochs": "epochs",
    "steps": "steps",
    "fraction": "0 to 1",
    "probability": "0 to 1",
    "cpus": "CPUs",
    "gpus": "GPUs",
}
UNITS_BY_PATH = {
    "clip.length": "frames",
    "clip.resize_height": "pixels",
    "clip.resize_width": "pixels",
    "clip.crop": "pixels",
    "clip.augmentation.blur.max_sigma": "pixels",
    "training.batch_size": "clips a step",
    "training.micro_batch_size": "clips",
    "evaluation.views.clip_length": "frames",
    "evaluation.views.batch_size": "clips",
    "evaluation.recognition.batch_size": "clips",
    "evaluation.recognition.drop_epoch": "epochs",
    "resources.cpus_per_worker": "CPUs",
    "resources.gpus_per_worker": "GPUs",
    "resources.usd_per_gpu_hour": "USD",
    "resources.usd_per_cpu_hour": "USD",
    "sweep.paired_standard_errors": "standard errors",
    "sweep.pruner_min_trials": "trials",
    "budget.usd": "USD",
}


def unit_of(path: str) -> str:
    """The unit or range of the value at a dotted path; empty for a plain number or a word.

    A name says its unit (``decode_timeout_seconds``), or it is listed in `UNITS_BY_PATH`.
    """
    words = path.rpartition(".")[2].split("_")
    if words[0] == "num":
        return " ".join(words[1:])
    return UNITS_BY_PATH.get(path) or UNITS_BY_LAST_WORD.get(words[-1], "")


def _docs(config_class: type, prefix: str) -> Iterator[tuple[str, FieldDoc]]:
    hints = typing.get_type_hints(config_class)
    sentences = _sentences(config_class)
    for field in dataclasses.fields(config_class):
        path = f"{prefix}{field.name}"
        table = table_of(hints[field.name])
        default = field.default
        if field.default_factory is not MISSING:
            default = {} if table else field.default_factory()
        sentence = sentences.get(field.name, "")
        yield path, FieldDoc(str(field.type), default, sentence, is_table=table is not None)
        if table is not None:
            yield from _docs(table, f"{path}.")


def _sentences(config_class: type) -> dict[str, str]:
    """Name -> sentence, of the fields of `config_class` and of the dataclasses it inherits."""
    found: dict[str, str] = {}
    for base in reversed(config_class.__mro__):
        if dataclasses.is_dataclass(base):
            found |= _sentences_in(inspect.getfile(base))[base.__qualname__]
    return found


@functools.cache
def _sentences_in(file: str) -> dict[str, dict[str, str]]:
    """Those of each class of a file, by the class's qualified name."""
    found = {}
    waiting: list[tuple[str, ast.AST]] = [("", ast.parse(Path(file).read_text(encoding="utf-8")))]
    while waiting:
        prefix, node = waiting.pop()
        for child in ast.iter_child_nodes(node):
            name = prefix
            if isinstance(child, ast.ClassDef):
                found[f"{prefix}{child.name}"] = _sentences_below(child.body)
                name = f"{prefix}{child.name}."
            elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                name = f"{prefix}{child.name}.<locals>."
            waiting.append((name, child))
    return found


def _sentences_below(statements: list[ast.stmt]) -> dict[str, str]:
    found = {}
    for statement, below in pairwise(statements):
        if not isinstance(statement, ast.AnnAssign) or not isinstance(statement.target, ast.Name):
            continue
        literal = below.value if isinstance(below, ast.Expr) else None
        if isinstance(literal, ast.Constant) and isinstance(literal.value, str):
            found[statement.target.id] = " ".join(literal.value.split())
    return found
