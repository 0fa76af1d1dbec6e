"""The demo's videos: really encoded, reproducible, made once, laid out as UCF101 is."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

import av
import numpy as np
import pytest

from orchestrator.data import demo_videos
from orchestrator.data.demo_videos import BROKEN, LANDSCAPES, MOTIONS, DemoSettings
from prp_core.data.container_sniffing import check_container
from prp_core.data.splits import labelling_of
from prp_core.errors import BrokenVideo

TINY = DemoSettings(
    landscapes=("Islands", "Lava"),
    motions=("Drift", "Turn", "Shake"),
    num_scenes=2,
    clips_per_scene=1,
    height=32,
    width=48,
    min_frames=9,
    max_frames=14,
    with_broken=True,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return demo_videos.make(tmp_path_factory.mktemp("demo"), TINY)


def keys_of(folder: Path) -> list[str]:
    return sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()
    )


def decoded(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def test_classes_are_folders_and_groups_are_in_the_names(folder: Path) -> None:
    keys = [key for key in keys_of(folder) if key not in BROKEN]
    said = [labelling_of(key, {}) for key in keys]
    assert len(keys) == len(TINY.classes) * TINY.num_scenes * TINY.clips_per_scene
    assert {one.label for one in said} == set(TINY.classes)
    assert len({one.group for one in said}) == len(TINY.classes) * TINY.num_scenes


@pytest.mark.parametrize("label", TINY.classes)
def test_a_video_is_h264_and_shows_what_was_drawn(folder: Path, label: str) -> None:
    path = folder / demo_videos.key_of(label, 1, 1)
    check_container(path)
    with av.open(str(path)) as container:
        assert container.streams.video[0].codec_context.name == "h264"
        assert container.streams.video[0].average_rate == demo_videos.FRAMES_PER_SECOND
    drawn, shown = demo_videos.draw_video(TINY, label, 1, 1), decoded(path)
    assert TINY.min_frames <= len(drawn) <= TINY.max_frames
    assert shown.shape == drawn.shape == (len(drawn), TINY.height, TINY.width, 3)
    assert np.abs(shown.astype(int) - drawn.astype(int)).mean() < 12


def test_same_settings_give_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    again = demo_videos.make(tmp_path, TINY)
    digests = [
        {key: hashlib.sha256((one / key).read_bytes()).hexdigest() for key in keys_of(one)}
        for one in (folder, again)
    ]
    assert digests[0] == digests[1]
    assert len(set(digests[0].values())) == len(digests[0])


def test_what_exists_is_used_again_and_other_settings_go_elsewhere(folder: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.mp4")}
    assert demo_videos.make(folder.parent, TINY) == folder
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*.mp4")} == before
    assert DemoSettings(seed=1).digest != DemoSettings().digest


def test_a_kill_on_the_way_leaves_no_folder_that_looks_complete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(path: Path, frames_THWC: np.ndarray) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(demo_videos, "encode", killed)
    with pytest.raises(KeyboardInterrupt):
        demo_videos.make(tmp_path, TINY)
    assert not (tmp_path / TINY.digest).exists()
    monkeypatch.undo()
    assert demo_videos.make(tmp_path, TINY).is_dir()
    assert [path.name for path in tmp_path.iterdir()] == [TINY.digest]


def test_broken_files_are_there_when_asked_for_and_fail_as_they_should(folder: Path) -> None:
    assert set(BROKEN) <= set(keys_of(folder))
    with pytest.raises(BrokenVideo, match="not-a-video"):
        check_container(folder / BROKEN[0])
    whole = demo_videos.draw_video(TINY, "IslandsDrift", 1, 1)
    assert len(decoded_until_it_breaks(folder / BROKEN[1])) < len(whole)


def decoded_until_it_breaks(path: Path) -> list[np.ndarray]:
    frames = []
    try:
        with av.open(str(path)) as container:
            frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    except av.error.FFmpegError:
        return frames
    return frames


@cache
def drawn(label: str) -> tuple[np.ndarray, ...]:
    """One video of each of six scenes, float32, long enough for the slowest motion."""
    settings = DemoSettings(min_frames=48, max_frames=48)
    return tuple(
        demo_videos.draw_video(settings, label, scene, 1).astype(np.float32)
        for scene in range(1, 7)
    )


def change_at(rate: int, label: str) -> float:
    """The mean absolute difference of frames `rate` apart."""
    return float(np.mean([np.abs(video[rate:] - video[:-rate]).mean() for video in drawn(label)]))


@pytest.mark.parametrize(("slower", "faster"), list(zip(MOTIONS, list(MOTIONS)[2:], strict=False)))
def test_motions_have_a_pace_of_their_own(slower: str, faster: str) -> None:
    assert change_at(1, f"Islands{faster}") > 1.2 * change_at(1, f"Islands{slower}")


@pytest.mark.parametrize("motion", MOTIONS)
def test_no_rate_makes_a_motion_stand_still(motion: str) -> None:
    at_rates = {rate: change_at(rate, f"Islands{motion}") for rate in (1, 2, 3, 4, 6, 8)}
    assert min(at_rates.values()) > 0.7 * at_rates[1], at_rates
    assert at_rates[8] > 1.2 * at_rates[1], at_rates


@pytest.mark.parametrize(
    "labels",
    [
        tuple(f"Islands{motion}" for motion in MOTIONS),
        tuple(f"{land}Breathe" for land in LANDSCAPES),
    ],
    ids=["motions", "landscapes"],
)
def test_brightness_and_contrast_say_nothing_of_the_class(labels: tuple[str, ...]) -> None:
    firsts = [[video[0] for video in drawn(label)] for label in labels]
    brightness = [np.mean(pictures) for pictures in firsts]
    contrast = [
        np.mean([picture.mean(axis=2).std() for picture in pictures]) for pictures in firsts
    ]
    assert max(brightness) - min(brightness) < 30, brightness
    assert max(contrast) / min(contrast) < 1.4, contrast


def test_one_picture_tells_the_landscape() -> None:
    """Its mean colour is nearest to that of its own landscape's, whatever the map."""
    tints = {
        land: np.mean([tint_of(video) for video in drawn(f"{land}Breathe")], axis=0)
        for land in LANDSCAPES
    }
    for land in LANDSCAPES:
        for video in drawn(f"{land}Drift"):
            away = {other: np.abs(tint_of(video) - tint).sum() for other, tint in tints.items()}
            assert min(away, key=away.__getitem__) == land


def tint_of(video: np.ndarray) -> np.ndarray:
    """The first frame's mean colour, without its brightness."""
    colour: np.ndarray = video[0].mean(axis=(0, 1))
    return colour - colour.mean()


def test_the_demo_has_each_landscape_with_each_of_three_motions() -> None:
    settings = DemoSettings()
    assert len(settings.classes) == 9 and {"IslandsDrift", "LavaShake"} <= set(settings.classes)
    assert settings.num_scenes * settings.clips_per_scene * len(settings.classes) == 252
