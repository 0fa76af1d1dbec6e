"""Connecting to a Ray cluster, or starting one on this machine when none is given."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

import ray

from orchestrator.trial_run import TRAIN_ENVIRONMENT
from prp_core.errors import UserError

# Checkpoints and videos never go through Ray's object store; only small messages do.
LOCAL_OBJECT_STORE_BYTES = 128 << 20
WORKING_DIR_EXCLUDES = [".git", ".venv", ".prp", "**/__pycache__", "*.mp4", "*.avi"]


@contextmanager
def ray_cluster(address: str = "", *, num_cpus: int | None = None, verbose: bool = False) -> Iterator[None]:
    """Ray for the length of the block: the cluster at `address`, the one this job runs on, or a local one that ends with the block.

    `num_cpus` sizes the local one (default: the cores of this machine). Raises `UserError` when `address` does not answer.
    """
    environment = {**TRAIN_ENVIRONMENT, **_thread_environment()}
    os.environ.update(environment)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"  # an interrupt belongs to the sweep, which closes its runs
    quiet = logging.INFO if verbose else logging.ERROR
    given = address or os.environ.get("RAY_ADDRESS", "")
    try:
        if given:
            inside_job = "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ
            runtime_env = {"env_vars": environment} if inside_job else {"env_vars": environment, **_our_code()}
            ray.init(address=given, runtime_env=runtime_env, log_to_driver=verbose, logging_level=quiet)
        else:
            ray.init(
                address="local",
                num_cpus=num_cpus,
                include_dashboard=False,
                log_to_driver=verbose,
                logging_level=quiet,
                object_store_memory=LOCAL_OBJECT_STORE_BYTES,
                runtime_env={"env_vars": environment},
            )
    except (ConnectionError, RuntimeError, ValueError) as error:
        first_line = (str(error).strip().splitlines() or [""])[0]
        raise UserError(f"No Ray cluster answers at {given or 'this machine'}: {first_line[:300]}; check --address and RAY_AUTH_TOKEN") from None
    try:
        yield
    finally:
        ray.shutdown()


def _our_code() -> dict[str, object]:
    """The working directory, sent to a cluster that this driver joins from outside a job."""
    return {"working_dir": os.getcwd(), "excludes": WORKING_DIR_EXCLUDES}  # noqa: PTH109 - Ray wants text


def _thread_environment() -> dict[str, str]:
    """One thread for each numerical library by default: a trial's CPUs are set by `use_threads`, and loader threads share them."""
    return {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}
