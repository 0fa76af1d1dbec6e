"""Pretraining: batches become losses, losses become weights, weights become checkpoints, and a
judge is asked at each rung.

In the order that data flows:

- `training_config`: how long and with which optimiser (the dataclass that a TOML file fills);
- `learner`: network, optimiser, schedule and precision; one `step` turns a batch into updated
  weights and named numbers;
- `schedule`: the learning rate as a function of the step;
- `metrics`: the names of those numbers, and their means over steps;
- `agreement`: all workers go on together or fail together;
- `checkpoint`: files that are committed whole or not at all;
- `progress_state`: where a run stands, and what a resume needs to continue bit for bit;
- `reporting`: whom the loop tells, and who may stop it;
- `loop`: `pretrain(...)`, the outline;
- `encoder_export`: the encoder's weights out of a network or a checkpoint, and a network out of
  weights.
"""
