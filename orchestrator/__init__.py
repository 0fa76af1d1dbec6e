"""The joining: Ray, MLflow, Optuna and S3 are each named in a few rooms here and nowhere else.

What lives here, in the order that a sweep goes through it:

- `cli`, `run_config`: what the user typed becomes one frozen config, or one clear line and exit
  code 2.
- `demo_videos`, `index_run`: encoded videos made on the spot; any bucket or folder becomes a
  manifest.
- `prepare_command`, `prepare_run`, `prepare_task`, `prepare_report`: videos become shards, task by
  task; `open_data` reads either.
- `storage`: S3 behind the object store protocol of `prp_core.data`, with retries as a wrapper; the
  manifest and the shards' index as Parquet.
- `search`: Optuna's study, the pruners, how many trials fit.
- `frame_tier`, `cache_command`: the node's cache of decoded frames in a worker's data path; `prp
  cache` looks after it.
- `sweep_run`, `sweep_server`, `trial_run`, `worker`: the sweep, the process that judges and tracks
  it, a trial, one of its ranks.
- `ledger`, `cost_meter`, `sweep_account`, `budget`, `pricing`: what was held and wasted, what it
  costs, whether another trial may start.
- `confirm`, `confirm_book`, `confirm_run`: the best again with new seeds, and whether one of them
  wins.
- `evaluation_run`: the downstream figures of a finished trial; `showcase`, `showcase_run`: a page
  of what the best ones retrieve and draw.
- `tracking`: MLflow: one parent run a sweep, one run a trial, the best encoder as a model.
- `progress`, `status_command`, `data_line`: the one screen that a person watches, while the driver
  runs and after a disconnect.
- `sweep_record`, `report`: all that is known of a sweep, and the page that answers with it;
  `reproduction`: a trial trained again.
"""

import os

# Ray reads this when it is imported, so it is set before any room here imports Ray. Left alone, a
# driver below `uv run` has every worker start through `uv run` again, in a copy of the working
# directory: no worker comes up within minutes, and the sweep hangs.
os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
