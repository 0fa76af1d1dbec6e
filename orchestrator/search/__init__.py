"""Search: the only room of Optuna.

`dimensions.py` offers what studies vary, `space.py` turns sampled values into a config,
`sampler.py` draws them, `study.py` asks and tells Optuna, `judge.py` decides at rungs,
`warm_start.py` takes in what earlier sweeps found.
"""
