"""The joining: Ray, MLflow, Optuna and S3 are each named in a few rooms here and nowhere else.

From what a user types down to where bytes lie; each package imports only those below it:

- `commands`: the command line ``prp``.
- `downstream`: an encoder in use: features, published evaluation, search, tuning.
- `sweep`: the driver of a sweep, from the plan of it to its leaderboard.
- `coordinator`: the Ray actor that owns the study, makes pruning decisions and logs to MLflow.
- `trial`: one trial, from its task to its outcome: driver, workers, evaluation of a rung.
- `report`: the page of a sweep, and the page of one trial.
- `data`: a bucket or folder becomes a manifest, then shards; workers open either.
- `ray_cluster`: connecting to Ray, groups of workers, how many trials run at once.
- `search`: spaces, samplers, pruners and the study. `cost`: the ledger, prices and the budget.
- `tracking`: runs, metrics and models in MLflow. `journal`: the sweep's durable state, its lease.
- `storage`: object stores, S3 among them.
- `config`: the config of a sweep and of its parts, read from TOML and the command line.

Beside them: `trial_state` is the enum of a trial's states, `confirmation` trains the best trials
again with new seeds, which `comparison` compares by the `run_model`, `argument_parser` and
`exit_codes` turn a mistake into one line and a code, `__main__` is ``python -m orchestrator``.
"""

import os

# Ray reads this when it is imported, so it is set before any room here imports Ray. Left alone, a
# driver below `uv run` has every worker start through `uv run` again, in a copy of the working
# directory: no worker comes up within minutes, and the sweep hangs.
os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
