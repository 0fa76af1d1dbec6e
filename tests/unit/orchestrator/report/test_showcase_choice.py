"""The choice of trials and videos for showcases, on which nothing else of a sweep depends."""

from __future__ import annotations

import dataclasses

import pytest

from orchestrator.config.run_config import RunConfig, load_config, parse_config, to_tree
from orchestrator.config.showcase_config import ShowcaseConfig
from orchestrator.coordinator.run_starts import as_params
from orchestrator.report.showcase_choice import spread_over_classes, trials_to_show
from orchestrator.trial.reproduction import config_of_params
from prp_core.data.manifest import VideoRecord
from prp_core.errors import UserError


def video(label: str, number: int) -> VideoRecord:
    return VideoRecord(key=f"{label}/{number:02d}.mp4", num_bytes=1, etag="e", label=label)


VIDEOS = [
    video(label, number)
    for label, count in (("walk", 9), ("run", 4), ("jump", 1))
    for number in range(count)
]


def chosen(records: list[VideoRecord], number: int) -> list[str]:
    return [records[index].key for index in spread_over_classes(records)[:number]]


def test_each_class_comes_once_before_any_comes_twice() -> None:
    order = [VIDEOS[index].label for index in spread_over_classes(VIDEOS)]
    assert sorted(spread_over_classes(VIDEOS)) == list(range(len(VIDEOS))), "every video once"
    assert set(order[:3]) == {"walk", "run", "jump"} and set(order[3:5]) == {"walk", "run"}
    assert order[-5:] == ["walk"] * 5


def test_the_choice_depends_on_keys_and_labels_alone() -> None:
    wanted = chosen(VIDEOS, 6)
    otherwise = [
        dataclasses.replace(one, etag="x", num_frames=7, group="g") for one in reversed(VIDEOS)
    ]
    assert chosen(otherwise, 6) == wanted
    assert chosen(VIDEOS, 4) == wanted[:4], "fewer are the first of more"
    assert (
        chosen([*VIDEOS, *(video("swim", number) for number in range(3))], 17)[:4] != wanted[:4]
    ), "a class more has its turn"
    without = [one for one in VIDEOS if one.key != wanted[0]]
    left = [key for key in chosen(without, 8) if key.split("/")[0] != wanted[0].split("/")[0]]
    assert left == [key for key in chosen(VIDEOS, 8) if key in left], (
        "a video that is gone moves no other class's"
    )


def test_the_order_is_no_alphabet_and_never_moves() -> None:
    assert chosen(VIDEOS, 5) == [
        "walk/03.mp4",
        "jump/00.mp4",
        "run/01.mp4",
        "walk/08.mp4",
        "run/00.mp4",
    ]
    assert spread_over_classes([]) == []


def test_the_best_trials_are_shown_and_the_taken_one_always() -> None:
    scores = {0: 0.4, 1: 0.6, 2: 0.5, 3: 0.1}
    assert trials_to_show(scores, 2, None) == [1, 2]
    assert trials_to_show(scores, 2, 2) == [1, 2]
    assert trials_to_show(scores, 2, 3) == [1, 3]
    assert trials_to_show(scores, 1, 3) == [3]
    assert trials_to_show(scores, 0, 1) == [], "0 makes none, whatever is taken"
    assert trials_to_show({}, 3, None) == []


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"num_trials": -1}, "showcase.num_trials = -1: must be 0 (no showcase) or more"),
        (
            {"num_queries": 0},
            "showcase.num_queries = 0: must lie in 1 to 24: the page holds every frame itself",
        ),
        ({"num_queries": 25}, "showcase.num_queries = 25"),
    ],
)
def test_wrong_numbers_are_refused(values: dict[str, int], text: str) -> None:
    with pytest.raises(UserError) as caught:
        ShowcaseConfig(**values)
    assert text in str(caught.value)


def test_a_sweep_of_before_it_was_there_is_read_and_no_run_has_it_among_its_parameters() -> None:
    tree = to_tree(load_config("demo"))
    del tree["showcase"]
    assert parse_config(tree).showcase == RunConfig().showcase == ShowcaseConfig()
    params = as_params(load_config("demo", ["showcase.num_trials=0"]))
    assert not [path for path in params if path.startswith("showcase")]
    assert config_of_params(params).showcase == ShowcaseConfig()
