"""The connection to Ray: an existing cluster, or a local one that is started for the sweep."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ray

from orchestrator.ray_cluster.cluster_address import check_address
from orchestrator.ray_cluster.local_ray import (
    close_token_file,
    job_config_without_working_dir,
    private_folder,
    start_local_ray,
    token_of_its_own,
)
from orchestrator.ray_cluster.setup_worker import NO_FORKS
from orchestrator.ray_cluster.train_controller import NO_AUTOSCALER_VARIABLE, WATCH_VARIABLE
from prp_core.errors import UserError

# Checkpoints and videos never go through Ray's object store; only small messages do.
LOCAL_OBJECT_STORE_BYTES = 128 << 20
# Timeouts of Ray Train, which reads them in every process of a run.
TRAIN_ENVIRONMENT = {
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
    "RAY_TRAIN_WORKER_HEALTH_CHECK_TIMEOUT_S": "45",
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "1800",
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_TRAIN_ENABLE_CONTROLLER_STRUCTURED_LOGGING": "0",  # it would print on our terminal
    WATCH_VARIABLE: "0",  # a process for each trial; ours is a thread of the controller
}
# A trial's threads are set by `use_threads`; its loader's threads share its CPUs.
WORKER_DEFAULTS = {**TRAIN_ENVIRONMENT, "OMP_NUM_THREADS": "1"}
# The processes of a trial on one machine talk to each other over loopback.
LOCAL_VARIABLES = {"GLOO_SOCKET_IFNAME": "lo"} if sys.platform == "linux" else {}
JOB_VARIABLE = "RAY_JOB_CONFIG_JSON_ENV_VAR"
SETUP_HOOK = "worker_process_setup_hook"
PROJECT_ROOT = Path(__file__).resolve().parents[2]
PACKAGE_SIZE = re.compile(r"Package size \(([\d.]+ ?\w+)\).* maximum size of ([\d.]+ ?\w+)")
WORKING_DIR_EXCLUDES = [".git", ".venv", ".prp", "**/__pycache__", "*.mp4", "*.avi"]


@contextlib.contextmanager
def ray_cluster(
    address: str = "",
    *,
    num_cpus: int | None = None,
    use_torch: bool = True,
    verbose: bool = False,
) -> Iterator[None]:
    """A context with a connection to Ray: to the cluster at `address`, to the one that this job
    runs on, or to a local one that ends with the context.

    The process's handler of SIGTERM stays what it was. `num_cpus` sizes the local one (default: the
    cores of this machine), whose workers are forked from a process with torch if they `use_torch`.
    Raises `UserError` when `address` does not answer.
    """
    added = use_environment(verbose=verbose)
    on_sigterm = signal.getsignal(signal.SIGTERM)
    quiet = logging.INFO if verbose else logging.ERROR
    given = address or os.environ.get("RAY_ADDRESS", "")
    with contextlib.ExitStack() as stack:
        try:
            if given:
                check_address(given)
                close_token_file()
                ray.init(
                    address=given,
                    job_config=job_config_without_working_dir(),
                    runtime_env=_environment_on_cluster(added),
                    log_to_driver=verbose,
                    logging_level=quiet,
                )
            else:
                # A trial is a handful of small processes; Ray's default warns on the terminal of
                # every machine with few cores.
                os.environ.setdefault("RAY_worker_maximum_startup_concurrency", "8")
                for name, value in LOCAL_VARIABLES.items():
                    os.environ.setdefault(name, value)
                stack.enter_context(token_of_its_own())
                start_local_ray(
                    num_cpus=num_cpus,
                    log_to_driver=verbose,
                    logging_level=quiet,
                    object_store_memory=LOCAL_OBJECT_STORE_BYTES,
                    job_config=job_config_without_working_dir(),
                    runtime_env=_environment_on_this_machine(use_torch=use_torch),
                )
                # for a training that this process itself drives
                os.environ[NO_AUTOSCALER_VARIABLE] = "1"
                stack.callback(os.environ.pop, NO_AUTOSCALER_VARIABLE, None)
        except UserError:
            raise
        except ray.exceptions.RuntimeEnvSetupError as error:
            raise UserError(_not_sent(str(error))) from None
        except (OSError, RuntimeError, ValueError) as error:
            raise UserError(_refusal(given, str(error))) from None
        stack.callback(ray.shutdown)
        _handle_sigterm_by(on_sigterm)
        yield


def _environment_on_this_machine(*, use_torch: bool) -> dict[str, Any]:
    """Ray's runtime environment for a local cluster."""
    variables = {**worker_environment(), **LOCAL_VARIABLES, NO_AUTOSCALER_VARIABLE: "1"}
    if not use_torch:
        variables[NO_FORKS] = "1"
    return {"env_vars": variables, SETUP_HOOK: process_setup_hook()}


def _environment_on_cluster(added: dict[str, str]) -> dict[str, Any]:
    """Ray's runtime environment for a cluster that this process joins, to which `added` variables
    are new. A job's own environment and working directory reach its workers by themselves; Ray
    refuses a value given twice.
    """
    job = os.environ.get(JOB_VARIABLE)
    hook = {} if SETUP_HOOK in (job or "") else {SETUP_HOOK: process_setup_hook()}
    if job is None:
        return {"env_vars": worker_environment(), **_our_code(), **hook}
    return {"env_vars": added, **hook}


def _refusal(given: str, error: str) -> str:
    """Why the cluster at `given` (empty: a local one) was not joined, by Ray's text `error`.

    The versions that do not match stand in lines of their own behind the first one.
    """
    where = given or "this machine"
    lines = [line.strip() for line in error.strip().splitlines() if line.strip()] or [""]
    if lines[0].startswith("Version mismatch"):
        return (
            f"The Ray cluster at {where} has other versions: {' '.join(lines)[:400]}; install the "
            "same on both sides (uv sync on every node, one image)"
        )
    if not given:
        logs = private_folder()
        return f"Ray does not start on this machine: {lines[0][:300]}; its logs are in {logs}"
    return (
        f"Ray at {where} cannot be used: {lines[0][:300]}; check --address, and where the cluster "
        "has a token (`ray start` makes one) set RAY_AUTH_MODE=token: docs/clusters.md says how"
    )


def _not_sent(error: str) -> str:
    """Why this checkout did not reach the cluster, by Ray's text `error`."""
    size = PACKAGE_SIZE.search(error)
    if size is None:
        reason = " ".join(error.split())[:400]
        return f"{PROJECT_ROOT} could not be sent to the cluster's workers: {reason}"
    return (
        f"{PROJECT_ROOT} has {size[1]} when packed, and Ray sends at most {size[2]} to workers: "
        "move videos and results out of it, or name what is not to be sent in .gitignore or "
        ".rayignore"
    )


def _handle_sigterm_by(handler: Any) -> None:
    """Give SIGTERM back to `handler`: `ray.init` replaces it by one that exits with code 15, and
    its native code by one that prints a C++ stack. ``ray job stop`` and schedulers send SIGTERM.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, handler or signal.SIG_DFL)


def use_environment(*, verbose: bool = False) -> dict[str, str]:
    """Set the variables that Ray reads in this process, where the user has not; returns those of
    `WORKER_DEFAULTS` that were added.
    """
    added = {name: value for name, value in WORKER_DEFAULTS.items() if name not in os.environ}
    os.environ.update(added)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault(
        "RAY_AIR_NEW_OUTPUT", "1" if verbose else "0"
    )  # Tune's own tables, which ignore verbose=0 otherwise
    # Tune's own CSV, JSON and TensorBoard files: MLflow and the journal have what they would say,
    # and the TensorBoard writer loads torch into the driver.
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = (
        "1"  # an interrupt belongs to the sweep, which closes its runs
    )
    return added


def worker_environment() -> dict[str, str]:
    """The environment variables that every worker gets, with the values of this process.

    No credentials: a runtime environment stands in clear in Ray's logs and on command lines.
    """
    return {name: os.environ[name] for name in WORKER_DEFAULTS}


def process_setup_hook() -> Callable[[], None]:
    """What every process of a sweep does first, those that run nothing but Ray's own code included:
    hide passwords and credentials in what it logs, and collect garbage less often. Importing Ray
    and torch makes a million objects that stay; to go through them again and again is a tenth of
    the CPU time of such a start.
    """

    # Inside a function, so that it is sent by value: a process to which our code comes with its
    # first task alone still starts.
    def set_up_process() -> None:
        import gc

        gc.set_threshold(100_000, 20, 100)
        try:
            from orchestrator.config.redaction import redact_logs
        except ImportError:
            return
        redact_logs()

    return set_up_process


def keep_credentials_out_of_runtime_env() -> None:
    """Stop Ray Tune from copying ``AWS_*`` of this process into the runtime environment of every
    trial actor, which stands in clear in Ray's logs and on command lines.

    Processes of a cluster get credentials from their node: its role, its files, or the environment
    that its raylet was started with (a local one: this process's).
    """
    from ray.tune.execution import class_cache  # no public name; Tune reads it for each trial

    names = class_cache.ENV_VARS_TO_PROPAGATE
    names.difference_update([name for name in names if name.startswith("AWS_")])


def _our_code() -> dict[str, object]:
    """This checkout, sent to a cluster that the driver joins from outside a job; nothing where the
    package is installed without one.
    """
    if not (PROJECT_ROOT / "pyproject.toml").is_file():
        return {}
    return {"working_dir": str(PROJECT_ROOT), "excludes": WORKING_DIR_EXCLUDES}
