"""Pretraining: the training loop, its steps, its checkpoints and its metrics.

In the order that data flows:

- `pretrain_config`: all that decides what a run learns; `training_config`: length and optimiser;
- `optimisers`, `schedule`: the optimisers and learning-rate schedules to choose from;
- `loss_model`: network and losses as one function; `precision_canary`: whether this machine
  computes it in bfloat16; `recompute`: less memory by computing activations twice;
  `micro_batches`: a batch in parts; `synced_norm`: batch norm over all workers;
- `learner`: network, optimiser, schedule and precision; one `step` turns a batch into updated
  weights and named numbers;
- `metrics`: the names of those numbers, and means over steps;
- `checkpoint`: files that are committed whole or not at all, under the names of
  `checkpoint_keys`, by the newest attempt at a run alone, as `checkpoint_record` says;
  `checkpoint_writer`: writes them while training goes on;
- `progress_state`: how far a run has got, and what a resume needs to continue bit for bit;
- `watchdog`: ends a worker that hangs, its threads' stacks in the log;
- `profiling`: a trace of a few steps, and their largest kernels;
- `data_health`: whether training waits for its videos, and what would help;
- `held_out`: whether the rate is named on videos that training never saw;
- `pretrain_data`: the videos of a run; `loop`: `pretrain(...)`, from the first step to the last;
- `fine_tuning`: `fine_tune(...)`, a network for recognition, logged and resumed likewise;
- `encoder_export`, `rung_weights`: the encoder's weights, for evaluation and for use elsewhere;
- `memory`: an estimate of the memory that a step takes; `step_probe`: the time that it takes, and
  whether workers reach each other.
"""
