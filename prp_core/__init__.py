"""Learning: playback rate perception in plain PyTorch, without clusters, S3 or trackers.

In the order that data flows:

- `errors`, `catalogue`, `checks`: what can be chosen, and how a wrong choice is refused;
- `documents`, `tensor_file`: JSON, TOML and tensors that others wrote, read without surprises;
- `closed_at_exit`: the base of what ``with`` closes; `isolated_start`: a child's safe start;
- `numerics`: the precision of products, and determinism; `eager_optimisers` and
  `eager_data_parallel`: torch's optimisers and DDP without its compiler; `allocator`: what becomes
  of freed memory;
- `randomness`: draws that are pure functions of their keys; `world`: this worker's rank and device;
  `agreement`: workers that succeed or fail together; `reporting`: the protocols of a run's
  reporter and evaluator; `step_numbers`: the numbers of steps, read when they are asked for;
- `data`: an object in a store becomes a verified video, then a span of uint8 frames, then a batch;
- `encoders`: C3D, R3D and R(2+1)D, and small ones that train on a CPU;
- `pretext`: the tasks: clips and targets of a batch, the network and its heads, the losses;
- `evaluation`: retrieval, a linear probe, recognition, and the baselines beside them;
- `training`: the loop, its steps and its checkpoints.

Importing this package imports nothing; every module in it needs torch and numpy alone.
"""
