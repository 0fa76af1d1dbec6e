"""Tables and lists of labels as programs and corpora write them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from orchestrator.data.label_source import LabelSource, read_label_table
from prp_core.data.splits import Labelling, read_split_files
from prp_core.errors import UserError

PLAIN = "key,label,split\nc/a.mp4,walk,train\nd/é.mp4,run,\n"
WRITTEN = {
    "plain": PLAIN.encode(),
    "with a mark": PLAIN.encode("utf-8-sig"),
    "UTF-16": PLAIN.encode("utf-16"),
    "UTF-16, big endian": b"\xfe\xff" + PLAIN.encode("utf-16-be"),
    "Windows' lines": PLAIN.replace("\n", "\r\n").encode(),
    "semicolons": PLAIN.replace(",", ";").encode(),
    "Excel's first line": b"sep=;\r\n" + PLAIN.replace(",", ";").encode(),
    "tabs": PLAIN.replace(",", "\t").encode(),
    "names in capitals": PLAIN.replace("key,label", "Key,LABEL").encode(),
    "spaces": PLAIN.replace(",", ", ").encode(),
    "quotes": b'"key","label","split"\n"c/a.mp4","walk","train"\n"d/\xc3\xa9.mp4","run",""\n',
    "empty lines": PLAIN.replace("\n", "\n\n").encode(),
}


@pytest.mark.parametrize("data", WRITTEN.values(), ids=WRITTEN)
def test_a_table_is_read_however_a_program_wrote_it(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_bytes(data)
    assert read_label_table(path) == {
        "c/a.mp4": Labelling("walk", None, "train"),
        "d/é.mp4": Labelling("run", None, None),
    }


def test_a_cell_may_hold_separators_and_lines(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text('key;label\n"a;b\n.mp4";"x, y"\nc.mp4;z;;\n')
    assert read_label_table(path) == {"a;b\n.mp4": Labelling("x, y"), "c.mp4": Labelling("z")}
    path.write_text('sep=;\nkey;split\n"a\n";train\nb;never\n')
    with pytest.raises(UserError, match="line 5: split 'never'"):
        read_label_table(path)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (PLAIN.encode("latin-1"), r"not a text file in UTF-8 \(byte b'\\xe9' at 37\); save it as"),
        (b"filename,label\na,b\n", "its first line is 'filename,label'; it must name the column"),
        (b"key,key,label\na,b,c\n", "it must name the column key"),
        (b"", "its first line is ''"),
        (b"key,label\na,b\nc,pull up, bar\n", "line 3: 3 cells, and the first line names 2 col"),
    ],
)
def test_what_is_no_table_is_refused_in_a_line(data: bytes, said: str, tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_bytes(data)
    with pytest.raises(UserError, match=said):
        read_label_table(path)


CLIP = {"annotations": {"label": "testifying", "segment": [84.0, 94.0]}, "subset": "train"}
LISTS: dict[str, tuple[dict[str, Any], dict[str, Labelling]]] = {
    "Something-Something V2": (
        {
            "something-something-v2-train.json": [
                {"id": "78", "label": "holding a potato", "template": "Holding [something]"}
            ],
            "something-something-v2-validation.json": [{"id": 74, "template": "Spinning [x] y"}],
            "something-something-v2-test.json": [{"id": "14"}],
            "something-something-v2-labels.json": {"Holding something": "0"},
        },
        {
            "78": Labelling("Holding something", None, "train"),
            "74": Labelling("Spinning x y", None, "val"),
            "14": Labelling(None, None, "test"),
        },
    ),
    "Diving48": (
        {
            "Diving48_V2_train.json": [{"vid_name": "-m_0", "label": 26, "start_frame": 0}],
            "Diving48_V2_test.json": [{"vid_name": "c_2", "label": 3, "end_frame": 9}],
            "Diving48_vocab.json": [["Back", "15som"]],
        },
        {"-m_0": Labelling("26", None, "train"), "c_2": Labelling("3", None, "test")},
    ),
    "Kinetics": (
        {"train.json": {"--QU": CLIP}, "validate.json": {"b": {"subset": "validate"}}},
        {
            "--QU_000084_000094": Labelling("testifying", None, "train"),
            "b": Labelling(None, None, "val"),
        },
    ),
}


@pytest.mark.parametrize(("files", "table"), LISTS.values(), ids=LISTS)
def test_lists_in_json(files: dict[str, Any], table: dict[str, Labelling], tmp_path: Path) -> None:
    for name, value in files.items():
        (tmp_path / name).write_text(json.dumps(value))
    assert read_split_files(tmp_path, 1) == table


def test_a_list_in_json_may_be_given_as_labels(tmp_path: Path) -> None:
    path = tmp_path / "activity_net.v1-3.min.json"
    annotations = [{"label": "Polo", "segment": [1, 2]}, {"label": "Polo", "segment": [3, 4]}]
    video = {"subset": "validation", "annotations": annotations}
    path.write_text(json.dumps({"version": "1.3", "database": {"sJ": video}}))
    assert LabelSource(labels_csv=path).table() == {"sJ": Labelling("Polo", None, "val")}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[{", "is not JSON"),
        ("7", "holds '7', not a list of videos"),
        ('[{"id": "1"}, {"label": "x"}]', "entry 1 is .*; it has to name its video, as one of id,"),
        ("[[1, 2]]", "entry 0 is"),
        ('{"a": {"annotations": [{"label": "x"}, {"label": "y"}]}}', "'a' has several labels"),
        ('{"a": {"annotations": {"label": "x", "segment": [1]}}}', "no two times"),
        ('{"a": {"subset": "holdout"}}', "'a' is in the subset 'holdout'; it may be one of train"),
    ],
)
def test_other_json_is_refused_in_a_line(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "train.json").write_text(text)
    with pytest.raises(UserError, match=said):
        read_label_table(tmp_path / "train.json")
