"""Where the videos are, and how their labels and parts are found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from prp_core.checks import check
from prp_core.data.manifest_filter import parse_filter

SPLITS_HELP = (
    "split files of UCF101, HMDB51 or Kinetics, or lists as CoCLR, VideoMAE, PySlowFast and "
    "mmaction2 publish them"
)
"""What a folder of splits may hold, for the help of ``--splits``."""


@dataclass(frozen=True, kw_only=True)
class SourceConfig:
    """The corpus of a sweep: its videos, their manifest, and the split into parts."""

    uri: str = ""
    """A folder of videos or ``s3://bucket/prefix``; empty: the demo makes its own videos."""
    manifest: str = ""
    """URI of a manifest that ``prp data index`` made; empty: the sweep indexes `uri` first."""
    splits_dir: str = ""
    """A folder of split files or lists (`SPLITS_HELP`); empty: splits come from the folders."""
    split: int = 1
    """Which of the split files in `splits_dir`, from 1."""
    labels_csv: str = ""
    """A table with the columns key, label, group, split; empty: labels come from the folders."""
    where: str = ""
    """Which of the manifest's videos are used, for example ``seconds >= 2 and height >= 240``;
    empty: all (``--where``)."""
    val_fraction: float = 0.2
    """The share of the training groups that is kept for validation, above 0 and below 1."""

    PATH: ClassVar[str] = "source"
    WHERE: ClassVar[str] = "--where"

    def __post_init__(self) -> None:
        check(
            0 < self.val_fraction < 1,
            f"{self.PATH}.val_fraction",
            self.val_fraction,
            "must lie between 0 and 1",
        )
        if self.where:
            parse_filter(self.where, self.WHERE)
        check(self.split >= 1, f"{self.PATH}.split", self.split, "split files are numbered from 1")

    @property
    def is_given(self) -> bool:
        """Whether it names videos."""
        return bool(self.uri or self.manifest)


@dataclass(frozen=True, kw_only=True)
class EvalSourceConfig(SourceConfig):
    """Another corpus that encoders are judged on (``--eval-data``); without `uri` and `manifest`
    they are judged on the videos of ``source``.

    Its fields mean what those of ``source`` mean.
    """

    PATH: ClassVar[str] = "eval_source"
    WHERE: ClassVar[str] = "--eval-where"

    def __post_init__(self) -> None:
        super().__post_init__()
        named = (self.splits_dir, self.labels_csv, self.where)
        check(
            self.is_given or not any(named),
            "eval_source.uri",
            self.uri,
            "the other options of eval_source need it; give --eval-data URI",
        )
