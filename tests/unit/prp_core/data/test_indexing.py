"""From a folder to verified records: labels, groups, splits and the reasons of what is broken."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from prp_core.data.cache.node_cache import NodeCache
from prp_core.data.folder_layout import FolderLayout, folder_layout, folders_are_hashes
from prp_core.data.indexing import index_videos
from prp_core.data.loader_config import LoaderConfig
from prp_core.data.manifest import VideoRecord
from prp_core.data.object_store import LocalStore, ObjectInfo
from prp_core.data.splits import (
    Labelling,
    group_of,
    labelling_of,
    labellings,
    read_split_files,
    relative_to_store,
    unmatched,
)
from prp_core.data.video_source import VideoSource
from prp_core.errors import QUARANTINE_REASONS, UserError
from tests.far_store import JournalStore
from tests.video_factory import (
    ENCODINGS,
    cut_without_reencoding,
    make_class_folders,
    make_video,
    write_playlist,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_class_folders(
        tmp_path_factory.mktemp("index") / "deep" / "corpus",
        ("jump", "run"),
        num_videos=2,
        num_frames=30,
    )
    make_video(folder / "loose.mp4", 20, fps=10)
    (folder / "run" / "empty.mp4").touch()
    write_playlist(folder / "run" / "list.mp4", folder / "loose.mp4")
    return folder


@pytest.fixture(scope="module")
def source(folder: Path) -> Iterator[VideoSource]:
    with VideoSource(LocalStore(folder.parent), None, LoaderConfig(num_decoders=2)) as source:
        yield source


@pytest.fixture(scope="module")
def records(source: VideoSource) -> list[VideoRecord]:
    return list(index_videos(source))


def test_records_say_what_was_decoded(records: list[VideoRecord], folder: Path) -> None:
    assert [record.key for record in records] == sorted(
        str(path.relative_to(folder.parent)) for path in folder.rglob("*.mp4")
    )
    by_key = {record.key: record for record in records}
    loose, jump = by_key["corpus/loose.mp4"], by_key["corpus/jump/jump_0.mp4"]
    assert (loose.num_frames, loose.fps, loose.width, loose.height, loose.codec, loose.reason) == (
        20,
        10.0,
        96,
        64,
        "h264",
        "",
    )
    assert (jump.num_frames, jump.label, jump.group, jump.split) == (
        30,
        "jump",
        "corpus/jump/jump_0.mp4",
        "",
    )
    assert jump.sha256 == hashlib.sha256((folder / "jump" / "jump_0.mp4").read_bytes()).hexdigest()
    reasons = {record.key: record.reason for record in records if record.reason}
    assert reasons == {"corpus/run/empty.mp4": "empty", "corpus/run/list.mp4": "not-a-video"}
    assert all(
        record.detail and record.reason in QUARANTINE_REASONS for record in records if record.reason
    )


@pytest.mark.parametrize("timeout_seconds", [3.0, 3000.0])
def test_what_one_frame_needs_decoded_decides_and_no_clock(
    timeout_seconds: float, tmp_path: Path
) -> None:
    (tmp_path / "videos").mkdir()
    far = {"far": "h264 with B-frames", "near": "h264", "unproved": "FLV"}
    for name, kind in far.items():
        encoding = ENCODINGS[kind]
        make_video(tmp_path / "videos" / f"{name}{encoding.suffix}", 60, encoding=encoding)
    cut_without_reencoding(tmp_path / "videos/near.mp4", tmp_path / "videos/cut.mp4", 7)
    loader = LoaderConfig(
        num_decoders=1, max_pixels_decoded=30 * 96 * 64, decode_timeout_seconds=timeout_seconds
    )
    with VideoSource(LocalStore(tmp_path / "videos"), None, loader) as source:
        found = {record.key: record for record in index_videos(source)}
    assert {key: record.reason for key, record in found.items()} == {
        "cut.mp4": "",
        "far.mp4": "needs-prepare",
        "near.mp4": "",
        "unproved.flv": "needs-prepare",
    }
    assert [record.num_frames for record in found.values()] == [53, 60, 60, 60]
    assert found["unproved.flv"].detail == (
        "reading one frame may decode 60 frames of 96 x 64, and "
        "loader.max_pixels_decoded = 184320; prepare it: prp data prepare"
    )


def test_known_records_are_taken_over_while_their_object_is_the_same(
    source: VideoSource, records: list[VideoRecord], folder: Path
) -> None:
    marked = {record.key: replace(record, num_frames=99) for record in records if not record.reason}
    os.utime(folder / "jump" / "jump_1.mp4", ns=(1, 1))
    steps: list[tuple[int, int]] = []
    again = {
        record.key: record
        for record in index_videos(
            source, known=marked, on_progress=lambda done, total: steps.append((done, total))
        )
    }
    assert again["corpus/jump/jump_0.mp4"].num_frames == 99, "it was not decoded again"
    assert again["corpus/jump/jump_1.mp4"].num_frames == 30, "its etag is another"
    assert steps == [(done, 7) for done in range(1, 8)]


def test_a_table_overrides_folders(source: VideoSource, records: list[VideoRecord]) -> None:
    table = {
        "jump/jump_0.mp4": Labelling("leap", "film 3", "test"),
        "corpus/loose.mp4": Labelling(split="train"),
        "gone.mp4": Labelling("x"),
    }
    known = {record.key: record for record in records}
    found = {record.key: record for record in index_videos(source, known=known, table=table)}
    leap = found["corpus/jump/jump_0.mp4"]
    assert (leap.label, leap.group, leap.split, leap.num_frames) == ("leap", "film 3", "test", 30)
    assert (found["corpus/loose.mp4"].label, found["corpus/loose.mp4"].split) == ("corpus", "train")
    assert unmatched(table, found) == ("gone.mp4",)
    with pytest.raises(
        UserError,
        match=r"none of the 1 videos that the splits or labels name lies under file://.*'gone.mp4'",
    ):
        list(index_videos(source, known=known, table={"gone.mp4": Labelling("x")}))


def test_an_empty_place_is_an_error(tmp_path: Path) -> None:
    with (
        VideoSource(LocalStore(tmp_path), None, LoaderConfig()) as source,
        pytest.raises(UserError, match="nothing lies under file://"),
    ):
        list(index_videos(source))


def test_a_store_elsewhere_is_indexed_through_the_cache(tmp_path: Path) -> None:
    make_video(tmp_path / "far" / "walk" / "a.mp4", 12)
    make_video(tmp_path / "far" / "walk" / "b.mp4", 12, seed=1)

    class Fickle(JournalStore):
        def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
            for info in super().list(prefix):
                yield info if info.key.endswith("a.mp4") else replace(info, etag="of yesterday")
            yield ObjectInfo("walk/c.mp4", 5, "deleted since")

    store = Fickle(tmp_path / "far", tmp_path / "journal")
    with pytest.raises(UserError, match="need a cache folder"):
        VideoSource(store, None, LoaderConfig())
    with VideoSource(
        store, NodeCache(tmp_path / "cache", 1 << 30, store), LoaderConfig(num_decoders=1)
    ) as source:
        records = list(index_videos(source))
        assert [(record.key, record.reason, record.num_frames) for record in records] == [
            ("walk/a.mp4", "", 12),
            ("walk/b.mp4", "changed", 0),
            ("walk/c.mp4", "missing", 0),
        ]
        assert source.counters["data/cache_misses"] == 3


@pytest.mark.parametrize(
    ("key", "label", "group"),
    [
        ("UCF-101/ApplyLipstick/v_ApplyLipstick_g08_c01.avi", "ApplyLipstick", "ApplyLipstick/g08"),
        (
            "HandstandPushups/v_HandStandPushups_g25_c04.avi",
            "HandstandPushups",
            "HandstandPushups/g25",
        ),
        ("brush_hair/April_09_brush_hair_u_nm_np1_ba_goo_0.avi", "brush_hair", "April_09"),
        (
            "hmdb51/wave/20060723sfjffbartsinger_wave_f_cm_np1_ba_med_0.avi",
            "wave",
            "20060723sfjffbartsinger",
        ),
        ("v_ApplyLipstick_g08_c01.avi", None, "v_ApplyLipstick_g08"),
        ("some/class/film_g08_c01.mp4", "class", "some/class/film_g08_c01.mp4"),
        ("loose.mp4", None, "loose.mp4"),
    ],
)
def test_labels_and_groups_from_names(key: str, label: str | None, group: str) -> None:
    assert labelling_of(key, {}) == Labelling(label, group, "")
    assert group_of(key, label) == group


@pytest.mark.parametrize(
    ("folders", "expected"),
    [
        (["0a", "f3", "10"], True),
        (["0a1", "f3c"], True),
        (["corpus/0a", "corpus/f3"], True),
        (["00", "01", "02"], False),  # numbered classes
        (["c1", "c2"], False),
        (["add", "bed"], False),  # words that happen to be hex
        (["a", "1"], False),
        (["0a", "f3c"], False),
        (["0a", "run"], False),
        (["0a"], False),
        ([""], False),
    ],
)
def test_folders_that_are_hash_prefixes(folders: list[str], expected: bool) -> None:
    keys = [f"{folder}/{number}.mp4".lstrip("/") for number, folder in enumerate(folders * 2)]
    assert folders_are_hashes(keys) is expected
    assert labelling_of("0a/v.mp4", {}, FolderLayout(are_hashes=expected)).label == (
        None if expected else "0a"
    )


@pytest.mark.parametrize(
    ("keys", "splits", "labels"),
    [
        (
            ["train/run/1.mp4", "val/run/2.mp4", "test/3.mp4", "replacement/4.mp4"],
            ["train", "val", "test", ""],
            ["run", "run", None, "replacement"],
        ),
        (["k/train_256/run/1.mp4", "k/val_256/run/2.mp4"], ["train", "val"], ["run", "run"]),
        (["Train/1.mp4", "Validation/2.mp4"], ["train", "val"], [None, None]),
        (["car/1.mp4", "train/2.mp4", "test/3.mp4"], ["", "", ""], ["car", "train", "test"]),
        (["train/run/1.mp4", "train/walk/2.mp4"], ["", ""], ["run", "walk"]),
    ],
)
def test_folders_that_are_a_corpus_parts(
    keys: list[str], splits: list[str], labels: list[str | None]
) -> None:
    layout = folder_layout(keys)
    found = [labelling_of(key, {}, layout) for key in keys]
    assert [said.split for said in found] == splits
    assert [said.label for said in found] == labels
    unused = labelling_of(keys[0], {keys[0]: Labelling(split="")}, layout)
    assert unused.split == "", "what a table states counts before the folder"


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("Archery/v_Archery_g09_c02.avi", "UCF-101/Archery/v_Archery_g09_c02.mp4"),
        ("HandstandPushups/v_a.avi", "HandStandPushups/v_a.avi"),
        ("./Archery//v_a.avi", "Archery/v_a.avi"),
        ("Archery/v_a/", "Archery/v_a.mkv"),
        (r".\Archery\v_a.avi", "UCF-101/Archery/v_a.mp4"),
        (r"Archery\v_a.avi", r"Archery\v_a.avi"),
    ],
)
def test_a_table_matches_re_encoded_moved_and_otherwise_spelt_videos(name: str, key: str) -> None:
    assert labelling_of(key, {name: Labelling("said", None, "test")}).split == "test"
    assert unmatched({name: Labelling()}, [key]) == ()


@pytest.mark.parametrize("windows", [False, True])
def test_a_table_of_another_machine_matches_below_its_common_folder(windows: bool) -> None:
    def name(below: str) -> str:
        return rf"D:\UCF101\{below}".replace("/", "\\") if windows else f"/users/x/UCF101/{below}"

    table = {
        name("Archery/v_a.avi"): Labelling(split="train"),
        name("YoYo/v_b.avi"): Labelling(split="test"),
        name("YoYo/v_gone.avi"): Labelling(split="test"),
    }
    keys = ["Archery/v_a.avi", "YoYo/v_b.mp4", "YoYo/v_c.avi"]
    found = labellings(keys, table, FolderLayout())
    assert [found[key].split for key in keys] == ["train", "test", ""]
    assert unmatched(table, keys) == (name("YoYo/v_gone.avi"),)
    twice = {"a/v.avi": Labelling("x"), "a/v.mp4": Labelling("y")}
    assert labelling_of("a/v.mkv", twice).label == "a", "two names that contradict each other"
    assert labelling_of("a/v.mp4", twice).label == "y"


def test_a_table_whose_keys_carry_the_store_s_place() -> None:
    said = Labelling("jump")
    table = dict.fromkeys(
        ("s3://b/corpus/0a/1.mp4", "corpus/0b/2.mp4", "0c/3.mp4", "s3://other/0d/4.mp4"), said
    )
    assert set(relative_to_store(table, "s3://b/corpus")) == {
        "0a/1.mp4",
        "0b/2.mp4",
        "0c/3.mp4",
        "s3://other/0d/4.mp4",
    }
    assert relative_to_store({"a/b": said}, "s3://b") == {"a/b": said}
    assert relative_to_store({"file:///v/a/b": said}, "file:///v") == {"a/b": said}


def test_ucf101s_own_split_files(tmp_path: Path) -> None:
    (tmp_path / "classInd.txt").write_text("1 ApplyEyeMakeup\r\n2 Archery\r\n")
    (tmp_path / "trainlist01.txt").write_text(
        "ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi 1\r\nArchery/v_Archery_g09_c02.avi 2\r\n"
    )
    (tmp_path / "testlist01.txt").write_text("ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c01.avi\r\n\r\n")
    (tmp_path / "trainlist02.txt").write_text("Archery/v_Archery_g09_c02.avi 2\n")
    table = read_split_files(tmp_path, 1)
    assert {key: (said.label, said.split) for key, said in table.items()} == {
        "ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi": ("ApplyEyeMakeup", "train"),
        "Archery/v_Archery_g09_c02.avi": ("Archery", "train"),
        "ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c01.avi": ("ApplyEyeMakeup", "test"),
    }
    assert labelling_of("UCF-101/Archery/v_Archery_g09_c02.avi", table) == Labelling(
        "Archery", "Archery/g09", "train"
    )
    with pytest.raises(UserError, match="no split 3; there is 1, 2"):
        read_split_files(tmp_path, 3)
    with pytest.raises(UserError, match=r"trainlist02.txt has no counterpart"):
        read_split_files(tmp_path, 2)
    (tmp_path / "testlist01.txt").write_text("Archery/v_Archery_g09_c02.avi\n")
    with pytest.raises(
        UserError, match=r"list01.txt, line \d: Archery/v_Archery_g09_c02.avi is in split"
    ):
        read_split_files(tmp_path, 1)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (  # CoCLR: folders of frames, with their number
            {
                "train_split01.csv": "/u/h/UCF101/frame/Archery/v_Archery_g08_c01/,149\n",
                "test_split01.csv": "/u/h/UCF101/frame/YoYo/v_YoYo_g01_c01/,160\n",
                "test_split02.csv": "/u/h/UCF101/frame/Archery/v_Archery_g08_c01/,149\n",
            },
            {"Archery": "train", "YoYo": "test"},
        ),
        (  # mmaction2: videos, and folders of frames
            {
                "ucf101_train_split_1_videos.txt": "Archery/v_Archery_g08_c01.avi 2\n",
                "ucf101_val_split_1_videos.txt": "YoYo/v_YoYo_g01_c01.avi 100\n",
                "ucf101_val_split_1_rawframes.txt": "YoYo/v_YoYo_g01_c01 160 100\n",
            },
            {"Archery": "train", "YoYo": "val"},
        ),
        (  # VideoMAE: its test is its validation
            {
                "train.csv": "root/Archery/v_Archery_g08_c01.mp4  2\n",
                "val.csv": "root/YoYo/v_YoYo_g01_c01.mp4  100\n",
                "test.csv": "root/YoYo/v_YoYo_g01_c01.mp4  100\n",
            },
            {"Archery": "train", "YoYo": "test"},
        ),
        (  # VideoMAE: its code takes a class of any kind behind one space
            {
                "train.csv": "/data/ucf101/v_Archery_g08_c01.mp4 Archery\n",
                "test.csv": "/data/ucf101/v_YoYo_g01_c01.mp4 YoYo\n",
            },
            {"Archery": "train", "YoYo": "test"},
        ),
        (  # VideoMAE V2, to learn from without labels: a video's first frame, and -1 for all
            {
                "train.csv": "# the prefix is given by --data_root\n"
                "your_path/Archery/v_Archery_g08_c01.mp4 0 -1\n",
                "val.csv": "your_path/YoYo/v_YoYo_g01_c01 1 58\nyour_path/YoYo/x 1 29\n",
            },
            {"Archery": "train", "YoYo": "val"},
        ),
        (  # VideoMAE V2, folders of frames to tune on: how many, and the label
            {
                "train.csv": "your_path/SomethingV2/frames/v_Archery_g08_c01 62 140\n",
                "test.csv": "your_path/SomethingV2/frames/v_YoYo_g01_c01 51 127\n",
            },
            {"140": "train", "127": "test"},
        ),
    ],
)
def test_lists_as_code_releases_publish_them(
    tmp_path: Path, files: dict[str, str], expected: dict[str, str]
) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    keys = ["Archery/v_Archery_g08_c01.avi", "YoYo/v_YoYo_g01_c01.avi"]
    found = labellings(keys, read_split_files(tmp_path, 1), FolderLayout())
    assert {said.label: said.split for said in found.values()} == expected


def test_odd_lines_of_published_lists(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text(
        "./training/air drumming/-3B3_000001.mp4,air drumming\n"
        '"./training/yoga, hot/a b_1.mp4" yoga\n'
        "/users/htd/HMDB51/frame/cartwheel/(Rad)Schlag_die_Bank!_cartwheel_med_0/,84\n"
        "imgs/Geena___;-)_ri_1 2 5 127\n"
    )
    found = {name: said.label for name, said in read_split_files(tmp_path, 1).items()}
    assert list(found.values()) == ["air drumming", "yoga", None, "127"]
    assert {key.rpartition("/")[2] or key.split("/")[-2] for key in found} == {
        "-3B3_000001.mp4",
        "a b_1.mp4",
        "(Rad)Schlag_die_Bank!_cartwheel_med_0",
        "Geena___;-)_ri_1",
    }
    (tmp_path / "train.csv").write_text("test.mp4 0 2 4\n")
    with pytest.raises(UserError, match="'test.mp4 0 2 4' has several labels"):
        read_split_files(tmp_path, 1)
    (tmp_path / "train.csv").write_text(f"a.mp4{' ' * 300_000}b\n")
    with pytest.raises(UserError, match="'a.mp4 .*has 300006 characters: it is not a list"):
        read_split_files(tmp_path, 1)


def test_kinetics_own_tables_and_numbers_that_are_labels(tmp_path: Path) -> None:
    (tmp_path / "validate.csv").write_text(
        'label,youtube_id,time_start,time_end,split\n"air drumming",_dbcJuKJQNs,40,50,validate\n'
    )
    (tmp_path / "train.csv").write_text(
        "label,youtube_id,time_start,time_end,split,is_cc\nabseiling,-3B32lodo2M,59,69,train,0\n"
    )
    keys = ["a/-3B32lodo2M_000059_000069.mp4", "b/_dbcJuKJQNs_000040_000050.mp4"]
    found = labellings(keys, read_split_files(tmp_path, 1), FolderLayout())
    assert [(found[key].label, found[key].split) for key in keys] == [
        ("abseiling", "train"),
        ("air drumming", "val"),
    ]
    flat = tmp_path / "flat"
    flat.mkdir()
    (flat / "train.csv").write_text("root/1.mp4 7\nroot/2 b.mp4 8\n")
    (flat / "val.csv").write_text("root/1.mp4 8\n")
    with pytest.raises(UserError, match=r"'root/1.mp4' is listed in 'train' with label '7'"):
        read_split_files(flat, 1)
    (flat / "val.csv").write_text("root/3.mp4 8\n")
    table = read_split_files(flat, 1)
    assert labelling_of(
        "videos/2 b.mp4", {k.removeprefix("root/"): v for k, v in table.items()}
    ) == (Labelling("8", "videos/2 b.mp4", "train"))


def test_hmdb51s_own_split_files(tmp_path: Path) -> None:
    for split in (1, 2):
        (tmp_path / f"brush_hair_test_split{split}.txt").write_text(
            "April_09_brush_hair_u_nm_np1_ba_goo_0.avi 1 "
            "\nother_brush_hair_h_cm_np1_ri_goo_0.avi 0 \n"
        )
        (tmp_path / f"wave_test_split{split}.txt").write_text(
            "film_wave_f_cm_np1_ba_med_0.avi 2 \n"
        )
    table = read_split_files(tmp_path, 1)
    assert {key: (said.label, said.split) for key, said in table.items()} == {
        "brush_hair/April_09_brush_hair_u_nm_np1_ba_goo_0.avi": ("brush_hair", "train"),
        "brush_hair/other_brush_hair_h_cm_np1_ri_goo_0.avi": ("brush_hair", ""),
        "wave/film_wave_f_cm_np1_ba_med_0.avi": ("wave", "test"),
    }
    (tmp_path / "wave_test_split1.txt").write_text("film_wave_f_cm_np1_ba_med_0.avi 3\n")
    with pytest.raises(UserError, match="is not 'file 0', 'file 1' or 'file 2'"):
        read_split_files(tmp_path, 1)
    (tmp_path / "nothing").mkdir()
    with pytest.raises(UserError, match="no split files of UCF101"):
        read_split_files(tmp_path / "nothing", 1)
    with pytest.raises(UserError, match="no such folder"):
        read_split_files(tmp_path / "nowhere", 1)
