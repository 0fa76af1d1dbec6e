"""Which failures of a trial are its own, and what may differ when it is taken up again."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from orchestrator.config.run_config import load_config, with_values
from orchestrator.cost.budget import Admission, Gate
from orchestrator.sweep.driver import outcome_of_left_over
from orchestrator.sweep.held_out_part import line_of_test_part
from orchestrator.trial.worker import permanent_failure
from prp_core.errors import BrokenVideo, DivergedError, StoreUnavailable, UserError
from prp_core.training.checkpoint import Checkpoint
from prp_core.training.memory import is_out_of_memory
from prp_core.training.progress_state import TrainingPart, check_same_run, flatten

CONFIG = with_values(
    load_config("demo"), {"training.batch_size": 8, "resources.num_workers": 2, "clip.length": 16}
)


def real_out_of_memory() -> Exception:
    """What torch raises on a CPU for a tensor that no machine holds."""
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 60, dtype=torch.uint8)
    return caught.value


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            DivergedError(3, "train/loss", float("nan")),
            "DivergedError: train/loss is nan at step 3",
        ),
        (UserError("no such thing"), "UserError: no such thing"),
        (
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
            "OutOfMemory: 4 clips of 16 frames on each worker are too many (CUDA",
        ),
        (MemoryError(), "lower training.batch_size or clip.length, or raise resources.num_workers"),
        (StoreUnavailable("s3://b: throttled"), None),
        (BrokenVideo("a.mp4", "truncated"), None),
        (RuntimeError("Connection closed by peer"), None),
        (OSError("disk"), None),
    ],
)
def test_what_would_happen_again_fails_the_trial_and_the_rest_is_tried_again(
    error: Exception, words: str | None
) -> None:
    reason = permanent_failure(error, CONFIG)
    assert (reason is None) if words is None else (reason is not None and words in reason)


def test_memory_that_a_cpu_cannot_give_is_known_by_its_words() -> None:
    assert is_out_of_memory(real_out_of_memory())
    assert not is_out_of_memory(RuntimeError("size mismatch"))


@pytest.mark.parametrize(
    ("change", "is_refused"),
    [
        (
            {
                "sweep.num_trials": 99,
                "budget.usd": 9.0,
                "confirm.num_candidates": 2,
                "resources.usd_per_gpu_hour": 3.0,
            },
            False,
        ),
        ({"resources.num_workers": 1}, False),
        ({"training.learning_rate": 0.5}, True),
        ({"clip.length": 8}, True),
    ],
)
def test_a_run_goes_on_when_only_its_sweep_has_changed(change: dict, is_refused: bool) -> None:
    facts = {"config": flatten(dataclasses.asdict(CONFIG)), "steps_per_epoch": 5}
    checkpoint, changed = Checkpoint(10, facts, ()), with_values(CONFIG, change)
    refusals = []
    try:
        check_same_run(checkpoint, changed, TrainingPart(5, "videos"), "somewhere")
    except UserError as error:
        refusals.append(str(error))
    assert bool(refusals) is is_refused


def test_other_videos_are_another_run_and_another_reader_is_said(
    caplog: pytest.LogCaptureFixture,
) -> None:
    part = TrainingPart(5, "videos")
    facts = {"config": flatten(dataclasses.asdict(CONFIG)), "steps_per_epoch": 5}
    checkpoint = Checkpoint(10, {**facts, "training_videos": "others"}, ())
    with pytest.raises(UserError, match="videos' digest is 'videos' here and 'others'"):
        check_same_run(checkpoint, CONFIG, part, "somewhere")
    check_same_run(Checkpoint(10, facts, ()), CONFIG, part, "somewhere")  # of an earlier release
    assert caplog.text == ""
    checkpoint = Checkpoint(10, {**facts, "training_videos": "videos"}, ())
    planar = with_values(CONFIG, {"loader.colour": "device"})
    check_same_run(checkpoint, planar, part, "somewhere")
    assert "loader.colour was 'decoder' until this checkpoint and is 'device'" in caplog.text


def test_the_stored_figures_of_the_test_part_are_shown_with_whose_they_are() -> None:
    metrics = {
        "test/retrieval/recall_at_1": 0.5,
        "test/baseline/random_init/retrieval/recall_at_1": 0.25,
        "test/recognition/accuracy": 0.75,
    }
    test = {"trial": 3, "time": "2026-11-23 08:00 UTC", "metrics": metrics}
    line = line_of_test_part(test, 3, "retrieval/recall_at_1")
    assert line == (
        "Test part:   trial 3, retrieval/recall_at_1 0.500, random initialisation "
        "0.250, fine-tuned recognition 0.750 "
        "(measured once, 2026-11-23 08:00 UTC)"
    )
    assert "they are not trial 5's: the test part is measured once" in line_of_test_part(
        test, 5, "retrieval/recall_at_1"
    )


def test_a_trial_that_is_left_over_says_why() -> None:
    spent = outcome_of_left_over(Gate(Admission.STOP, "budget: spent"), 4)
    assert (spent.state, spent.reason) == ("pruned", "budget: spent")
    assert (
        outcome_of_left_over(Gate(Admission.START), 4).reason == "sweep.num_trials = 4 have ended"
    )
