"""What is wrong with either corpus is said before the first is indexed."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.config.run_config import load_config
from orchestrator.sweep.corpus import check_sources
from prp_core.errors import UserError


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("source.uri='{}/none'", "There is no folder "),
        ("eval_source.uri='{}/none'", "There is no folder "),
        ("source.uri='{}/file'", "is a file, not a folder"),
        ("eval_source.manifest='{}/none.parquet'", "There is no manifest at "),
        ("eval_source.manifest='{}/file'", "is not a manifest: "),
        ("source.labels_csv='{}/none.csv'", "no such table of labels"),
        ("source.splits_dir='{}/none'", "no such folder of split files"),
    ],
)
def test_a_corpus_that_cannot_be_used_is_refused(setting: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("neither a manifest nor a folder")
    config = load_config("demo", [setting.format(tmp_path)])
    with pytest.raises(UserError, match=said):
        check_sources(config)


def test_folders_that_are_there_pass(tmp_path: Path) -> None:
    check_sources(load_config("demo", [f"source.uri='{tmp_path}'"]))
