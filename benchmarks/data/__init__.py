"""Benchmarks of the data path: against the paper's way of loading, and the decoder's own limit.

``python -m benchmarks.data`` prints every table. `corpus` makes the videos and `samples` the
requests; `rows` names each way of loading, `paper_way` is the paper's; `measure` runs them side by
side, and `goals` says what the figures should reach. `readers`, `shards` and `warm_cache` are the
parts of the run; `frame_copies`, `demo_trial`, `augmentation_cost` and `s3_clients` are run by
themselves. To add a row, write a `Way` in a file of its own and list it in `__main__`.
"""
