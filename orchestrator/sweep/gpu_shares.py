"""The check of trials that share a GPU: whether the memory that they need together is there.

Nothing divides a GPU's memory between them, so the share that each is given
(``resources.gpus_per_worker`` below 1) is a promise: as many trials as fit by shares must fit by
memory, with a fifth to spare, because the estimate is a lower bound.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from orchestrator.config.run_config import RunConfig
from orchestrator.ray_cluster.task_cancellation import cancel_task
from orchestrator.search.space import MemoryFigures, step_gib
from orchestrator.sweep.finding import Finding, Level
from prp_core.errors import UserError

SPARE_SHARE = 0.2
WASTED_SHARE = 0.05  # of a GPU, below which a share that does not divide it is nobody's concern
ANSWER_SECONDS = 45.0
MIB_OF_GIB = 1024
WHAT = "gpu share"


def is_shared(config: RunConfig) -> bool:
    """Whether several trials are put on one GPU."""
    return 0 < config.resources.gpus_per_worker < 1


def trials_on_one(gpus_per_worker: float) -> int:
    """How many workers Ray puts on one GPU."""
    return int(1 / gpus_per_worker + 1e-6)


def share_finding(config: RunConfig, gpu_gib: float, table: Mapping[str, MemoryFigures]) -> Finding:
    """Whether the trials that share a GPU of `gpu_gib` GiB fit there (0: its size is not known).

    `table` holds the memory figures of every encoder. The base config is looked at; what a space
    may draw is held to ``resources.worker_memory_gib``.
    """
    share = config.resources.gpus_per_worker
    trials = trials_on_one(share)
    word = "trials" if trials > 1 else "trial"
    text = f"resources.gpus_per_worker = {share:g} puts {trials} {word} on a GPU"
    if config.training.recompute:
        advice = "training.recompute keeps less than the estimate: look at the peak of one trial"
        return Finding(WHAT, Level.WARNING, f"{text}, whose memory is not estimated", advice)
    each, what = step_gib(config, table)
    needed = trials * each
    text += f": {what} need at least {each:.1f} GiB, {trials} times that is {needed:.1f} GiB"
    if not gpu_gib:
        text += (
            f"; no GPU answered, and one of {needed / (1 - SPARE_SHARE):.1f} GiB would leave a "
            "fifth of it free"
        )
        return Finding(WHAT, Level.WARNING, text, "ask `prp doctor` when a node with GPUs is up")
    text += f", the GPU has {gpu_gib:.1f} GiB"
    room = gpu_gib * (1 - SPARE_SHARE)
    if needed > gpu_gib:
        return Finding(WHAT, Level.FAILURE, text, _fewer(int(room / each)))
    if needed > room:
        fewer = _fewer(int(room / each))
        advice = f"less than a fifth is left, and the estimate is a lower bound: {fewer}"
        return Finding(WHAT, Level.WARNING, text, advice)
    if 1 - trials * share > WASTED_SHARE:
        advice = f"{1 - trials * share:.0%} of each GPU stays unused: choose {_share_of(trials):g}"
        return Finding(WHAT, Level.WARNING, text, advice)
    if not config.resources.worker_memory_gib:
        text += f"; resources.worker_memory_gib = {room / trials:.1f} refuses what needs more"
    return Finding(WHAT, Level.OK, text)


def _fewer(trials: int) -> str:
    """What to do where only `trials` fit."""
    if trials >= 1:
        return f"choose resources.gpus_per_worker = {_share_of(trials):g}"
    return "lower training.batch_size, or set training.micro_batch_size"


def _share_of(trials: int) -> float:
    """The share of a GPU that puts `trials` on one, rounded down."""
    return int(100 / trials) / 100


def node_share_finding(config: RunConfig, program: str = "nvidia-smi") -> Finding:
    """See `share_finding`, for the smallest GPU of this machine."""
    from prp_core.training.memory import memory_table  # torch, which a worker has loaded anyway

    if not is_shared(config):
        return Finding(WHAT, Level.OK, "no trials share a GPU")
    return share_finding(config, min(gpu_sizes(program), default=0.0), memory_table())


def gpu_sizes(program: str = "nvidia-smi") -> list[float]:
    """GiB of memory of each GPU of this machine; empty where NVIDIA's program gives no answer."""
    query = [program, "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True)
        return [float(line) / MIB_OF_GIB for line in done.stdout.split()]
    except (OSError, ValueError, subprocess.SubprocessError):
        return []


def check_shares(config: RunConfig) -> list[str]:
    """What a plan says of trials that share a GPU of the cluster to which Ray is connected.

    Nothing where none do. Raises `UserError` where they cannot fit.
    """
    if not is_shared(config):
        return []
    from prp_core.training.memory import memory_table  # torch, which few drivers need

    sizes = _sizes_of_nodes([node["NodeID"] for node in ray.nodes() if _has_gpus(node)])
    return lines_of_plan(share_finding(config, min(sizes, default=0.0), memory_table()))


def lines_of_plan(finding: Finding) -> list[str]:
    """The finding as a plan says it. Raises `UserError` for a failure."""
    if finding.level == Level.FAILURE:
        raise UserError(f"{finding.text}; {finding.advice}")
    return [f"{finding.text}; {finding.advice}" if finding.advice else finding.text]


def _has_gpus(node: Mapping[str, object]) -> bool:
    resources = node.get("Resources")
    return bool(node.get("Alive") and isinstance(resources, dict) and resources.get("GPU"))


def _sizes_of_nodes(node_ids: Sequence[str]) -> list[float]:
    """The sizes of the GPUs of nodes; those of nodes that do not answer are left out."""
    task = ray.remote(num_cpus=0, max_retries=0)(gpu_sizes)
    waiting = [
        task.options(
            scheduling_strategy=NodeAffinitySchedulingStrategy(node_id, soft=False)
        ).remote()
        for node_id in node_ids
    ]
    if not waiting:
        return []
    ready, late = ray.wait(waiting, num_returns=len(waiting), timeout=ANSWER_SECONDS)
    for one in late:
        cancel_task(one)
    sizes: list[float] = []
    for answer in ready:
        try:
            sizes += ray.get(answer)
        except ray.exceptions.RayError:  # a node that dies now is not there to be checked
            continue
    return sizes
