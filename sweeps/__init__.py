"""The varying: each file is a study that a person reads from top to bottom and runs.

A study says three things: which dimensions it searches, as a function of the `trial` that it is
handed; which preset it starts from; which downstream metric it is judged by. All else is
`orchestrator`'s.

- `rate_search.py`: rate set, clip length and loss balance. The main job: `uv run python
  sweeps/rate_search.py`.
- `generated_rates.py`: any set of 2 to 4 rates up to 8, what to reconstruct from it, and how fast
  to learn.
- `untuned_search.py`: the main job's dimensions and the learning rate, where nobody knows a good
  one yet.
- `shortcuts.py`: the strength of each augmentation, which take away what betrays the rate.
- `presets/*.toml`: starting points for a config, from the demo that runs on a laptop to the
  published settings.

What a study varies is a path in the config, so that the parameter MLflow shows is the path that was
varied. Optuna is not imported here; a new dimension is one line in a study.
"""
