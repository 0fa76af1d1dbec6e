"""Search: `space.py` turns sampled values into a config, `study.py` asks and tells Optuna, `judge.py` decides at rungs. The only room of Optuna."""
