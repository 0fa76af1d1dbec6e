"""Benchmarks of a training step.

`gpu_ladder` climbs from the paper's way to the fast one, on a GPU or a CPU: its rungs and their
timed steps are in `ladder_steps`, what a rung has to keep in `ladder_checks`. On one CPU thread
`memory_format` compares channels-last weights with the default layout, `fused_decoder` the fused
decoder with the written one, `task_cost` the pretext tasks that are on. `worker_scaling` measures
several workers beside one, `system_cost` what surrounds a step.
`trial_start` sets one more trial beside one more training with Ray Train alone, and `local_ray`
a local Ray of ours beside one that Ray starts by itself.
"""
