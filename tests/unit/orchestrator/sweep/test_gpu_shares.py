"""Trials that share a GPU: as many as fit by their shares have to fit by memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.config.resources_config import ResourcesConfig
from orchestrator.config.run_config import RunConfig, with_values
from orchestrator.search.space import fits_memory
from orchestrator.sweep.finding import Level
from orchestrator.sweep.gpu_shares import (
    gpu_sizes,
    is_shared,
    lines_of_plan,
    share_finding,
    trials_on_one,
)
from prp_core.errors import UserError


class OneGibAClip:
    def worker_bytes(self, *, num_clips: int, length: int, crop: int, upsampling: int) -> float:
        return num_clips * 2.0**30


TABLE = {"r3d": OneGibAClip()}  # eight clips by default: 8 GiB a trial


def shared(share: float, **more: object) -> RunConfig:
    values = {name.replace("__", "."): value for name, value in more.items()}
    return with_values(RunConfig(), {"resources.gpus_per_worker": share, **values})


@pytest.mark.parametrize(
    ("share", "trials"), [(0.5, 2), (0.33, 3), (1 / 3, 3), (0.25, 4), (0.6, 1)]
)
def test_shares_put_so_many_trials_on_one(share: float, trials: int) -> None:
    assert trials_on_one(share) == trials and is_shared(shared(share))


def test_only_shares_are_checked() -> None:
    assert not is_shared(RunConfig()) and not is_shared(shared(1.0)) and not is_shared(shared(2.0))


@pytest.mark.parametrize(
    ("share", "gpu_gib", "level", "words"),
    [
        (0.5, 24, Level.OK, "resources.worker_memory_gib = 9.6 refuses what needs more"),
        (0.5, 18, Level.WARNING, "less than a fifth is left"),
        (0.5, 15, Level.FAILURE, "choose resources.gpus_per_worker = 1"),
        (0.25, 24, Level.FAILURE, "choose resources.gpus_per_worker = 0.5"),
        (0.25, 9, Level.FAILURE, "lower training.batch_size, or set training.micro_batch_size"),
        (0.4, 24, Level.WARNING, "20% of each GPU stays unused: choose 0.5"),
        (0.5, 0, Level.WARNING, "one of 20.0 GiB would leave a fifth"),
    ],
)
def test_trials_times_memory_against_the_gpu(
    share: float, gpu_gib: float, level: Level, words: str
) -> None:
    found = share_finding(shared(share), gpu_gib, TABLE)
    assert found.level == level and words in f"{found.text}; {found.advice}"
    trials = trials_on_one(share)
    assert f"puts {trials} trials on a GPU: 8 clips of 16 frames of 112 x 112" in found.text
    assert f"need at least 8.0 GiB, {trials} times that is {8 * trials}.0 GiB" in found.text
    if level == Level.FAILURE:
        with pytest.raises(UserError, match=r"the GPU has .* GiB; (choose|lower)"):
            lines_of_plan(found)
    else:
        assert len(lines_of_plan(found)) == 1


def test_micro_batches_and_recomputation_need_less() -> None:
    config = shared(0.25, training__micro_batch_size=2)
    assert share_finding(config, 12, TABLE).level == Level.OK
    limited = with_values(config, {"resources.worker_memory_gib": 3.0})
    assert fits_memory(limited, TABLE).ok
    assert not fits_memory(with_values(limited, {"training.micro_batch_size": 4}), TABLE).ok
    recomputed = shared(0.25, training__recompute=True, resources__worker_memory_gib=1.0)
    assert "is not estimated" in share_finding(recomputed, 12, TABLE).text
    assert fits_memory(recomputed, TABLE).ok


def test_shares_that_ray_or_nccl_refuse_are_refused_here() -> None:
    with pytest.raises(UserError, match=r"gpus_per_worker.*1\.5.*a whole number of them"):
        shared(1.5)
    with pytest.raises(UserError, match=r"two of the 2 workers of a trial on one GPU, which NCCL"):
        shared(0.5, resources__num_workers=2)
    assert shared(1.0, resources__num_workers=2).resources.num_workers == 2
    assert ResourcesConfig(gpus_per_worker=2).gpus_per_worker == 2


def test_sizes_are_those_that_nvidia_s_program_names(tmp_path: Path) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 81920\necho 24576\n")
    program.chmod(0o755)
    assert gpu_sizes(str(program)) == [80.0, 24.0]
    program.write_text("#!/bin/sh\necho no devices\n")
    assert gpu_sizes(str(program)) == [] == gpu_sizes(str(tmp_path / "none"))
