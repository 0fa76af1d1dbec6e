"""The tables of an evaluation: published figures are those of the papers, lines fit 80 columns."""

from __future__ import annotations

import pytest

from orchestrator.commands.evaluate import split_numbers
from orchestrator.config.store_config import StoreConfig
from orchestrator.downstream.evaluate_splits import Measured, Split, mean_over_splits
from orchestrator.downstream.evaluation_table import figure_lines, published_lines
from orchestrator.downstream.feature_job import FeatureJob
from orchestrator.downstream.published_figures import KS, PUBLISHED, SOURCES, table_of
from prp_core.data.clip_config import ClipConfig
from prp_core.data.loader_config import LoaderConfig
from prp_core.data.manifest import Manifest, VideoRecord
from prp_core.errors import UserError
from prp_core.evaluation.views import ViewsConfig

RECORDS = tuple(
    VideoRecord(key=f"{label}/{number}.avi", num_bytes=1, etag="e", label=label)
    for label in ("a", "b")
    for number in range(3)
)


def job_of(views: ViewsConfig) -> FeatureJob:
    return FeatureJob(
        encoder_uri="",
        encoder_name="r2plus1d_small",
        weights_sha256="w",
        data_uri="file:///v",
        place_uri="",
        clip=ClipConfig(),
        views=views,
        loader=LoaderConfig(),
        store=StoreConfig(),
    )


def measured(split: str, recall: float) -> Measured:
    metrics = {f"retrieval/recall_at_{k}": recall for k in KS}
    metrics |= {"retrieval/recall_at_1_low": 0.1, "retrieval/recall_at_1_high": 0.9}
    return Measured(split, "encoder", {**metrics, "linear_probe/accuracy": 1.0}, "0123456789ab")


@pytest.mark.parametrize("views", [ViewsConfig(), ViewsConfig(num_clips=1)])
def test_figures_and_their_mean_fit_80_columns(views: ViewsConfig) -> None:
    splits = [
        Split(name, Manifest("file:///v", RECORDS), RECORDS[:4], RECORDS[4:]) for name in "12"
    ]
    found = [measured("1", 0.25), measured("2", 0.75)]
    job = job_of(views)
    lines = list(figure_lines(job, "models:/prp-rate-search@best", splits, found))
    lines += published_lines("ucf101", is_published=True)
    assert [line for line in lines if len(line) > 80] == []
    text = "\n".join(lines)
    assert ("this is the published protocol" in text) is (views == ViewsConfig())
    assert ("this is NOT the published protocol" in text) is (views != ViewsConfig())
    assert mean_over_splits(found, "encoder") == {
        **{f"retrieval/recall_at_{k}": 0.5 for k in KS},
        "linear_probe/accuracy": 1.0,
    }
    assert text.count("0123456789ab") == 2 and " mean" in text


def test_published_rows_are_those_of_method_7() -> None:
    rows = {(row.method, row.backbone): row for row in PUBLISHED["ucf101"]}
    assert rows["PRP", "C3D"].recalls == (23.2, 38.1, 46.0, 55.7, 68.4)
    assert [rows["PRP", name].recalls[0] for name in ("C3D", "R3D", "R(2+1)D")] == [
        23.2,
        22.8,
        20.3,
    ]
    assert {row.method for row in rows.values()} >= {"SpeedNet", "Pace", "RSPNet", "TCLR"}
    for row in (one for table in PUBLISHED.values() for one in table):
        assert len(row.recalls) == len(KS)
        assert all(letter in SOURCES for letter in row.source.split(", "))
        known = [value for value in row.recalls if value is not None]
        assert known == sorted(known), row


def test_a_table_is_chosen_by_the_number_of_classes_and_splits_are_numbers() -> None:
    assert table_of([str(number) for number in range(101)]) == "ucf101"
    assert table_of(["a"] * 51) == "hmdb51" and table_of(["a", "b"]) == "none"
    assert split_numbers("1-3") == (1, 3) and split_numbers("") == ()
    for text in ("0", "1,2", "all", "1-"):
        with pytest.raises(UserError, match="write numbers joined by '-'"):
            split_numbers(text)
