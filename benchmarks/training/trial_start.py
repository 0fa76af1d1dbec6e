"""CPU time of one more trial, beside that of one more training with Ray Train alone.

    uv run python -m benchmarks.training.trial_start [--more 3] [--rounds 2]

The CPU-seconds of all processes (Ray's own included) of a run with one training, taken from those
of a run with more of them, by the number of the further ones. Both ways train the same network on
one worker. Ray Train alone, through its `TorchTrainer`, makes one step on random numbers. A trial
of PRP does it all: it asks for its values, reads videos, makes its steps, is evaluated at a rung,
writes its checkpoint and is sent to MLflow. So its whole cost, not its start alone, stands beside
the start of the other.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from orchestrator.data.demo_videos import MOTIONS, DemoSettings, make

LOOK_SECONDS = 0.1
TICKS = os.sysconf("SC_CLK_TCK")
STUDY = "tests/e2e/tiny_study.py"
PRESET = "tests/e2e/tiny.toml"
NUM_EPOCHS = 1


class Spent:
    """CPU-seconds of every process whose environment holds a mark, those that end included."""

    def __init__(self, mark: str) -> None:
        self._mark = mark.encode()
        self._is_ours: dict[tuple[str, str], bool] = {}
        self._seconds: dict[tuple[str, str], float] = {}

    def look(self) -> None:
        """Note what each process has used up to now."""
        for folder in Path("/proc").iterdir():
            if not folder.name.isdigit():
                continue
            try:
                fields = (folder / "stat").read_text().rsplit(")", 1)[1].split()
                process = folder.name, fields[19]  # its number and when it started
                if process not in self._is_ours:
                    self._is_ours[process] = self._mark in (folder / "environ").read_bytes()
                if self._is_ours[process]:
                    self._seconds[process] = (int(fields[11]) + int(fields[12])) / TICKS
            except (OSError, IndexError):
                continue  # it ended while it was looked at

    @property
    def total(self) -> float:
        """CPU-seconds of all of them."""
        return sum(self._seconds.values())


def run(command: list[str], home: Path) -> float:
    """CPU-seconds of `command` and of all that it starts."""
    mark = f"prp-trial-start-{os.urandom(6).hex()}"
    environment = {**os.environ, "PRP_HOME": str(home), "PRP_BENCHMARK_MARK": mark}
    spent, has_ended = Spent(mark), threading.Event()

    def watch() -> None:
        while not has_ended.wait(LOOK_SECONDS):
            spent.look()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    has_ended.set()
    thread.join()
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return spent.total


def ray_train_alone(num_trainings: int) -> None:
    """`num_trainings` trainings of one step, one after the other, with Ray's `TorchTrainer`."""
    import ray
    import ray.train.torch

    ray.init("local", num_cpus=2, logging_level="warning", log_to_driver=False)
    folder = os.environ["PRP_HOME"]
    for number in range(num_trainings):
        ray.train.torch.TorchTrainer(
            one_step,
            scaling_config=ray.train.ScalingConfig(num_workers=1),
            run_config=ray.train.RunConfig(name=f"alone-{number}", storage_path=folder),
        ).fit()
    ray.shutdown()


def one_step() -> None:
    """One step of the network of the other way, on random numbers."""
    import torch

    from prp_core.pretext.network import PrpNetwork

    network = PrpNetwork("c3d_small")
    optimiser = torch.optim.AdamW(network.parameters(), lr=0.002)
    loss = network(torch.rand(4, 3, 8, 32, 32))["playback_rate"].square().mean()
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()


def command_of(way: str, num_trainings: int, videos: Path) -> list[str]:
    """What starts `num_trainings` trainings in the one way or in the other."""
    if way == "ray train alone":
        module = "benchmarks.training.trial_start"
        return [sys.executable, "-m", module, "--alone", str(num_trainings)]
    values = [f"training.num_epochs={NUM_EPOCHS}", "sweep.pruner=none"]
    return [
        *(sys.executable, STUDY, "--preset", PRESET, "--data", str(videos)),
        *("--trials", str(num_trainings)),
        *(word for value in values for word in ("--set", value)),
    ]


def main() -> None:
    """Measure both ways in turn and print one row for each, and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--more", type=int, default=3, help="further trainings of the longer run")
    parser.add_argument("--rounds", type=int, default=2, help="times that everything is measured")
    parser.add_argument("--alone", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.alone:
        ray_train_alone(arguments.alone)
        return
    figures: dict[str, list[float]] = {"ray train alone": [], "prp": []}
    with tempfile.TemporaryDirectory() as name:
        settings = DemoSettings(
            landscapes=("Islands",),
            motions=tuple(MOTIONS),
            num_scenes=5,
            clips_per_scene=1,
            min_frames=40,
            max_frames=60,
        )
        videos = make(Path(name) / "videos", settings)
        for number in range(arguments.rounds):
            for way, seconds in figures.items():
                used = []
                for count in (1, 1 + arguments.more):
                    home = Path(name) / f"{way.replace(' ', '-')}-{number}-{count}"
                    home.mkdir()
                    used.append(run(command_of(way, count, videos), home))
                seconds.append((used[1] - used[0]) / arguments.more)
                print(f"{way:<16}{seconds[-1]:7.1f} CPU-seconds for one more", flush=True)
                time.sleep(1)
    alone, ours = (statistics.median(seconds) for seconds in figures.values())
    print(f"a whole trial of PRP / a start of Ray Train alone: {ours / alone:.2f}")


if __name__ == "__main__":
    main()
