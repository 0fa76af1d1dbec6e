"""Studies: each file is a search that a person reads from top to bottom and runs.

A study is one function of the `trial` that it is handed, which suggests values for paths of the
config, and one call of `orchestrator.sweep.main`. Preset, objective, number of trials and all else
come from its command line, which every study shares.

- `rate_search`: rate set, clip length and the balance of the losses: the main job, ``uv run python
  sweeps/rate_search.py``.
- `generated_rates`: any set of 2 to 4 rates up to 8, what to reconstruct, the learning rate.
- `untuned_search`: the main job with five decades of learning rates, for a new corpus.
- `shortcuts`: the strength of each augmentation, which take away what betrays the rate.
- `presets/*.toml`: starting points for a config, from the demo that runs on a laptop to the
  published settings.

A name that a study suggests is a path in the config and the parameter that MLflow shows. A study
imports Optuna only to hand over a sampler, ``main(space, sampler=...)``.
"""
